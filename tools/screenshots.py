"""Take the pictures of docs/ from a separate system with a few sites.

    python tools/screenshots.py                  # docs/images/*.png, for the pages of docs/
    python tools/screenshots.py --all DIRECTORY  # every page, light and dark, for review

It needs Chromium and does not touch an existing system.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Page, expect, sync_playwright

from certferry.demo import ca
from certferry.kube.client.client import CONFIG_MAP, ENDPOINT_SLICE, INGRESS, NAMESPACE, SECRET, SERVICE, KubeClient
from certferry.kube.client.kubeconfig import load

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.support.chromium import CHROMIUM  # noqa: E402 - the tests know where it is

IMAGES = ROOT / "docs" / "images"
_THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SITES = (
    ("shop", "www", "www.shop.example", 4.6),
    ("shop", "api", "api.shop.example", 22),
    ("billing", "pay", "pay.example", 71),
    ("blog", "blog", "blog.example", 160),
)


@contextmanager
def running() -> Iterator[tuple[dict[str, Any], Path]]:
    """Run a system with a few sites; yield its endpoints.json and its directory."""
    with tempfile.TemporaryDirectory(prefix="cfs-") as place:
        state = Path(place) / "s"
        command = [sys.executable, "-m", "certferry", "up", "--state", str(state), "--no-demo"]
        up = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            endpoints = state / "endpoints.json"
            while not endpoints.exists():
                time.sleep(0.1)
                assert up.poll() is None, "certferry up ended"
            told = json.loads(endpoints.read_text())
            asyncio.run(fill(told, state))
            yield told, state
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(60)


async def fill(told: dict[str, Any], state: Path) -> None:
    """The sites, a spare certificate on the ELB, and one that goes wrong."""
    now = datetime.now(UTC)
    authority = ca.open_authority(state, now)
    async with KubeClient(load(Path(told["kubeconfig"]))) as kube:
        for namespace in sorted({site[0] for site in SITES}):
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            await kube.create(NAMESPACE, body)
        for namespace, name, host, days in SITES:
            pair = ca.good(authority, host, now, days)
            for kind, body in site(namespace, name, host, pair):
                await kube.create(kind, body, namespace)
        settings = {"metadata": {"name": "settings"}, "data": {"theme": "plain", "lines": "25"}}
        await kube.create(CONFIG_MAP, settings, "shop")
        bad = ca.expired(authority, "pay.example", now, 0)
        await asyncio.sleep(3)  # let the good one be served first
        await kube.merge(SECRET, "pay-tls", {"data": data(bad)}, "billing")
    spare = ca.good(authority, "www.shop.example", now, 365)
    body = {
        "name": "bought-2027",
        "domain": "www.shop.example",
        "certificate": spare.certificate,
        "private_key": spare.key,
    }
    elb(told, "POST", "certificates", {"certificate": body})


def site(namespace: str, name: str, host: str, pair: ca.Pair) -> list[tuple[Any, dict[str, Any]]]:
    """Return the objects of one site."""

    def meta(called: str, **more: Any) -> dict[str, Any]:
        return {"name": called, "namespace": namespace, **more}

    port = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}
    backend = {"service": {"name": name, "port": {"number": 80}}}
    rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    slices = {
        "metadata": meta(f"{name}-1", labels={"kubernetes.io/service-name": name}),
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
    }
    spec = {"ingressClassName": "cce", "tls": [{"hosts": [host], "secretName": f"{name}-tls"}], "rules": [rule]}
    return [
        (SERVICE, {"metadata": meta(name), "spec": {"ports": [port]}}),
        (ENDPOINT_SLICE, slices),
        (SECRET, {"metadata": meta(f"{name}-tls"), "type": "kubernetes.io/tls", "data": data(pair)}),
        (INGRESS, {"metadata": meta(name), "spec": spec}),
    ]


def data(pair: ca.Pair) -> dict[str, str]:
    """Return the data of a TLS Secret."""
    texts = {"tls.crt": pair.certificate, "tls.key": pair.key}
    return {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}


def elb(told: dict[str, Any], method: str, path: str, body: Any = None) -> Any:
    """Send one request to the ELB as its admin."""
    door = told["elb"]
    user = {"name": door["username"], "password": door["password"], "domain": {"name": door["domain"]}}
    auth = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    json_type = {"Content-Type": "application/json"}
    login = urllib.request.Request(f"{door['url']}/v3/auth/tokens", json.dumps(auth).encode(), json_type)
    with urllib.request.urlopen(login, timeout=10) as answer:
        token = answer.headers["X-Subject-Token"]
    url = f"{door['url']}/v3/{door['project_id']}/elb/{path}"
    request = urllib.request.Request(
        url, json.dumps(body).encode() if body else None, {"X-Auth-Token": token, **json_type}, method=method
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def enter(page: Page, told: dict[str, Any]) -> None:
    """Log in, and load every page once, so that the console has made every handshake."""
    page.goto("/login")
    page.get_by_label("User name").fill(told["elb"]["username"])
    page.get_by_label("Password").fill(told["elb"]["password"])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("link", name="local")).to_be_visible()
    page.goto("/clusters/local/ingresses")
    expect(page.get_by_role("row").filter(has_text="Accepted")).to_have_count(0)


def everything(page: Page, told: dict[str, Any], folder: Path, theme: str) -> None:
    """Take a picture of every page and dialog."""
    lb = f"/clusters/local/elb/loadbalancers/{told['elb']['loadbalancer_id']}"
    known = elb(told, "GET", "certificates")["certificates"]
    own = next(c["id"] for c in known if c["name"].startswith("k8s_plb"))
    mine = next(c["id"] for c in known if c["name"] == "bought-2027")
    root = "/clusters/local"
    pages = {
        "clusters": "/clusters",
        "all-certificates": "/certificates",
        "overview": root,
        "events": f"{root}/events",
        "hosts": f"{root}/hosts",
        "host": f"{root}/hosts/pay.example",
        "search": "/search?q=shop",
        "ingress": f"{root}/ingresses/billing/pay",
        "secret": f"{root}/secrets/billing/pay-tls",
        "secrets": f"{root}/secrets",
        "secrets-sorted": f"{root}/secrets?sort=-expires&q=shop",
        "configmaps": f"{root}/configmaps",
        "services": f"{root}/services",
        "ingresses": f"{root}/ingresses",
        "secret-create": f"{root}/secrets/create",
        "secret-update": f"{root}/secrets/shop/www-tls/update",
        "secret-delete": f"{root}/secrets/shop/www-tls/delete",
        "secret-events": f"{root}/secrets/billing/pay-tls/events",
        "secret-yaml": f"{root}/secrets/shop/www-tls/yaml",
        "secret-edit": f"{root}/secrets/shop/www-tls/yaml/edit",
        "ingress-create": f"{root}/ingresses/create?namespace=shop",
        "ingress-update": f"{root}/ingresses/shop/www/update",
        "ingress-governed": f"{root}/ingresses/blog/blog/update",
        "ingress-delete": f"{root}/ingresses/billing/pay/delete",
        "ingress-synchronize": f"{root}/ingresses/shop/www/synchronize",
        "ingress-yaml": f"{root}/ingresses/shop/www/yaml",
        "elb-certificates": f"{root}/elb/certificates",
        "elb-create": f"{root}/elb/certificates/create",
        "elb-modify": f"{root}/elb/certificates/{mine}/modify",
        "elb-delete": f"{root}/elb/certificates/{mine}/delete",
        "elb-replace": f"{root}/elb/certificates/{own}/replace",
        "elb-bind": f"{root}/elb/certificates/{mine}/bind",
        "elb-protection": f"{root}/elb/certificates/{mine}/protection",
        "elb-certificate": f"{root}/elb/certificates/{own}",
        "elb-break-glass": f"{root}/elb/certificates/{own}/break-glass",
        "loadbalancers": f"{root}/elb/loadbalancers",
        **{f"loadbalancer-{tab}": f"{lb}?tab={tab}" for tab in ("summary", "listeners", "policies", "status")},
        "not-found": "/clusters/nowhere",
    }
    for name, path in pages.items():
        page.goto(path)
        if page.locator("#live").count():
            expect(page.locator("#live")).to_have_text("Live")
        page.screenshot(path=folder / f"{name}-{theme}.png")


def procedures(page: Page, state: Path, folder: Path) -> None:
    """Take a picture of each step of the two procedures."""

    def shoot(name: str) -> None:
        page.screenshot(path=folder / f"{name}.png")

    now = datetime.now(UTC)
    authority = ca.open_authority(state, now)
    page.goto("/clusters")
    shoot("clusters")
    page.goto("/clusters/local")
    shoot("overview")
    page.goto("/certificates")
    shoot("all-certificates")
    page.goto("/clusters/local/secrets")
    shoot("secrets")
    row = page.get_by_role("row").filter(has_text="www-tls")
    row.get_by_role("link", name="Update").click()
    dialog = page.get_by_role("dialog").last
    new = ca.good(authority, "www.shop.example", now, 90)
    dialog.get_by_role("textbox", name="Certificate").fill(new.certificate)
    dialog.get_by_role("textbox", name="Private Key").fill(new.key)
    expect(dialog.locator(".compare section").last).to_contain_text("days left")
    # no key in a picture, not even a test key
    dialog.get_by_role("textbox", name="Private Key").evaluate("field => { field.style.color = 'transparent'; }")
    shoot("secret-update")
    dialog.get_by_role("button", name="OK").click()
    expect(page.get_by_text("Every listener serves")).to_be_visible()
    page.locator(".toast").first.wait_for(state="detached")
    shoot("rotation")
    page.goto("/clusters/local/ingresses?namespace=shop")
    row = page.get_by_role("row").filter(has_text="www.shop.example")
    row.get_by_role("button", name="More").click()
    shoot("ingress-more")
    page.get_by_role("menuitem", name="Update").click()
    dialog = page.get_by_role("dialog").last
    dialog.get_by_role("radio", name="ELB server certificate").check()
    chooser = dialog.get_by_role("combobox", name="Server Certificate")
    chooser.select_option(chooser.locator("option", has_text="bought").get_attribute("value"))
    expect(dialog.locator(".compare section").last).to_contain_text("days left")
    shoot("ingress-update")
    dialog.get_by_role("button", name="Show YAML changes").click()
    expect(dialog.locator(".diff")).to_be_visible()
    shoot("ingress-diff")
    dialog.get_by_role("button", name="OK").click()
    expect(page.get_by_text("Every listener serves")).to_be_visible()
    page.goto("/clusters/local/elb/certificates")
    expect(page.get_by_role("row").filter(has_text="Accepted")).to_have_count(0)
    shoot("elb-certificates")


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, metavar="DIRECTORY")
    asked = parser.parse_args()
    assert CHROMIUM, "there is no Chromium here"
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with running() as (told, state), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        size = {"width": 1280, "height": 820}
        for theme in _THEMES if asked.all else _THEMES[:1]:
            context = browser.new_context(base_url=told["console"]["url"], viewport=size, color_scheme=theme)
            page = context.new_page()
            enter(page, told)
            folder = asked.all or IMAGES
            folder.mkdir(parents=True, exist_ok=True)
            if asked.all:
                everything(page, told, folder, theme)
            else:
                procedures(page, state, folder)
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
