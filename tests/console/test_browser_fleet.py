"""Several clusters in one console: one that is away, and one that a role may not enter, hold up none of the others."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, expect

from certferry.up.free_ports import free_ports
from tests.console.user import User
from tests.e2e.support.http import JsonApi
from tests.e2e.support.site import Site
from tests.e2e.support.system import System
from tests.e2e.support.waiting import until


@pytest.fixture
def origin(system: System, tmp_path: Path) -> Iterator[str]:
    """A console of its own, for the running system and two more clusters that share its ELB."""
    state, door = system.state, system.endpoints
    away = yaml.safe_load((state / "kubeconfig").read_text())
    away["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (tmp_path / "away").write_text(yaml.safe_dump(away))
    elb = {"url": door.elb.url, "project": door.elb.project_id}
    own = {"kubeconfig": str(state / "kubeconfig")}
    clusters = [
        {"name": "north", **own, "elb": elb, "default_loadbalancer": door.elb.loadbalancer_id},
        {"name": "away", "kubeconfig": "away", "elb": elb},
        {"name": "shut", **own, "elb": elb, "roles": {"reader": {"kubeconfig": str(state / "kubeconfig-view")}}},
    ]
    (tmp_path / "certferry.yaml").write_text(yaml.safe_dump({"clusters": clusters}))
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "certferry", "console", "--config", str(tmp_path / "certferry.yaml")]
    process = subprocess.Popen([*command, "--listen", f"127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: JsonApi(url, {}).call("GET", "/healthz").status == 200, "the console answers", seconds=60)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def test_every_cluster_is_listed_although_one_is_unreachable(
    origin: str, system: System, browser: Browser, shop: Site
) -> None:
    user = User(browser, origin)
    user.log_in(system.endpoints.elb.username, system.endpoints.elb.password)
    expect(user.row("north")).to_contain_text("Reachable")
    expect(user.row("away")).to_contain_text("not reachable")
    expect(user.row("shut")).to_contain_text("give that role no access")
    assert user.get("/clusters/shut/secrets").status == 403
    assert user.get("/clusters/away/secrets").status == 503
    user.page.goto("/certificates?q=" + shop.host)
    expect(user.row(shop.host).first).to_contain_text("north")
    expect(user.page.get_by_text("away:")).to_be_visible()
    user.page.goto("/clusters/north/ingresses?q=" + shop.host)
    expect(user.row(shop.host)).to_contain_text("Served")
    user.check()
    user.context.close()
