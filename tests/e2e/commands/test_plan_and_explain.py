"""`certferry plan` and `certferry explain` agree with the running system."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from tests.cli.test_cli import certferry
from tests.e2e.conftest import MakeSite
from tests.e2e.support.site import INGRESS, Site
from tests.e2e.support.waiting import until


def run(site: Site, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return certferry(*arguments, "--state", site.system.state, CERTFERRY_CONFIG="")


def test_plan_sees_what_a_manifest_would_change_and_changes_nothing(site: MakeSite, tmp_path: Path) -> None:
    shop = site("planned")
    pair = shop.pair()
    shop.publish(pair)
    shop.shows(pair)
    file = tmp_path / "ingress.yaml"
    file.write_text(yaml.safe_dump(shop.ingress()))
    until(lambda: "Nothing would change." in run(shop, "plan", "-f", file).stdout, "all is in step")

    file.write_text(yaml.safe_dump(shop.ingress({"kubernetes.io/elb.http2-enable": "false"})))
    done = run(shop, "plan", "-f", file)
    assert done.returncode == 2, done.stderr
    assert f"~ update listener k8s_HTTPS_{shop.port}: http2_enable changed" in done.stdout
    assert "0 to create, 1 to update, 0 to delete." in done.stdout
    again = run(shop, "plan", "-f", file)
    assert again.stdout == done.stdout


def test_explain_names_the_certificate_its_source_and_the_reason(site: MakeSite) -> None:
    shop = site("explained")
    pair = shop.pair()
    shop.publish(pair)
    shop.shows(pair)
    done = run(shop, "explain", "ingress", f"{shop.name}/{INGRESS}")
    assert done.returncode == 0, done.stderr
    assert f"{shop.host}, port {shop.port}" in done.stdout
    assert f"bound:  {shop.own_certificate()['name']}" in done.stdout
    assert f"from:   Secret {shop.name}/" in done.stdout
    assert f"Ingress {shop.name}/{INGRESS} owns the listener" in done.stdout
