"""What else can be done in the console: create and delete, synchronize, roll back, break the glass."""

from __future__ import annotations

import http.client
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.console.conftest import LogIn
from tests.console.user import User
from tests.e2e.support import tls
from tests.e2e.support.site import INGRESS, SECRET, SERVICE, Site
from tests.e2e.support.waiting import until
from tests.support import certs


@pytest.fixture(scope="module")
def site(make_site: Callable[[str, int], Site]) -> Site:
    return make_site("workshop", 11445)


@pytest.fixture
def user(log_in: LogIn) -> User:
    return log_in()


def test_an_ingress_is_created_managed_and_deleted(user: User, site: Site) -> None:
    host, pair = "second.test.example", certs.authority().issue("second.test.example", days=80)
    user.page.goto("/clusters/local/ingresses")
    user.choose("Create Ingress")
    user.dialog.get_by_label("Name", exact=False).first.fill("second")
    user.dialog.get_by_label("External Port").fill(str(site.port))
    user.dialog.get_by_label("Namespace", exact=True).select_option(site.name)
    service = user.dialog.get_by_label("Destination Service 1", exact=True)
    expect(service.locator(f'option[value="{SERVICE}"]')).to_have_count(1)  # those of the namespace
    service.select_option(SERVICE)
    user.dialog.get_by_label("Destination Service Port 1").fill("80")
    user.dialog.get_by_label("Domain Name of policy 1").fill(host)
    user.ok()
    expect(user.dialog.locator('[data-error="secret"]')).to_contain_text("Select a server certificate")
    user.dialog.get_by_role("link", name="Create Secret").click()
    expect(user.dialog.get_by_role("heading", name="Create Secret")).to_be_visible()
    expect(user.dialog.get_by_label("Namespace", exact=True)).to_have_value(site.name)
    user.dialog.get_by_label("Name", exact=False).first.fill("second-tls")
    user.dialog.get_by_role("textbox", name="Certificate File").fill(pair.certificate)
    user.dialog.get_by_role("textbox", name="Private Key File").fill(pair.key)
    expect(user.dialog.locator(".compare")).to_contain_text("79 days left")
    user.ok()
    expect(user.dialog.get_by_role("combobox", name="Server Certificate")).to_have_value("second-tls")
    expect(user.dialog.get_by_label("Domain Name of policy 1")).to_have_value(host)  # what was typed stays
    expect(user.dialog.locator(".compare section").last).to_contain_text("79 days left")
    user.ok()
    row = user.page.locator(f"#row-{site.name}-second")
    expect(row).to_contain_text(f"Listener owned by {site.name}/{INGRESS}")
    expect(row).to_contain_text("Served")
    assert tls.handshake(site.address, host) == tls.fingerprint(pair.certificate)
    row.get_by_role("button", name="More").click()
    user.page.get_by_role("menuitem", name="Update").click()
    expect(user.dialog).to_contain_text("The listener owner is the older Ingress")
    user.dialog.get_by_role("link", name=f"{site.name}/{INGRESS}").click()
    expect(user.page.get_by_text(f"{INGRESS} in {site.name}")).to_be_visible()
    user.page.goto(f"/clusters/local/ingresses/{site.name}/second/delete")
    expect(user.page.get_by_text(f"no longer forwards requests for {host}")).to_be_visible()
    user.page.get_by_label("Type second to confirm").fill("second")
    user.page.get_by_role("button", name="Delete").click()
    expect(user.page.get_by_text(f"Ingress {site.name}/second was deleted.")).to_be_visible()
    expect(row).to_have_count(0)


def test_synchronize_writes_the_listeners_values_into_the_ingress(user: User, site: Site) -> None:
    listener = site.system.elb_path("listeners", site.listener()["id"])
    site.elb.want(200, "PUT", listener, {"listener": {"tls_ciphers_policy": "tls-1-2-strict"}})
    user.page.goto(f"/clusters/local?namespace={site.name}")
    expect(user.page.get_by_text("Security Policy of the load balancer differs.")).to_be_visible()
    user.page.get_by_role("link", name="Synchronize Configuration").click()
    expect(user.dialog.locator(".diff .added")).to_contain_text("tls-ciphers-policy: tls-1-2-strict")
    user.ok()
    expect(user.page.get_by_text("now has the settings of the load balancer.")).to_be_visible()
    written = site.get("apis/networking.k8s.io/v1", "ingresses", INGRESS)["metadata"]["annotations"]
    assert written["kubernetes.io/elb.tls-ciphers-policy"] == "tls-1-2-strict"


def test_an_earlier_version_is_restored(user: User, site: Site) -> None:
    first, second = site.pair(days=301), site.pair(days=302)
    own = site.post_certificate(first, "with a past")
    site.put_certificate(own, second)
    site.annotate(ids=own)
    site.shows(second)
    user.page.goto(f"/clusters/local/elb/certificates/{own}/history")
    user.row("301 days").or_(user.row("300 days")).get_by_role("link", name="Roll back").click()
    expect(user.dialog.get_by_text("Version 1")).to_be_visible()
    user.dialog.get_by_label("Reason").fill("the new one is not trusted")
    user.ok("Roll back")
    expect(user.page.get_by_text("Every listener serves the new certificate.")).to_be_visible()
    assert site.shown() == tls.fingerprint(first.certificate)
    user.page.goto(f"/clusters/local/elb/certificates/{own}/history")
    expect(user.row("the new one is not trusted")).to_have_count(1)
    site.annotate(ids=None)


def test_with_break_glass_an_admin_modifies_a_managed_certificate(user: User, site: Site) -> None:
    before, pair = site.pair(days=43), site.pair(days=44)
    site.put_secret(before)
    site.shows(before)
    own = site.own_certificate()["id"]
    user.page.goto(f"/clusters/local/elb/certificates?q={own}")
    user.page.get_by_role("button", name="More").click()
    user.page.get_by_role("menuitem", name="Break-glass").click()
    user.dialog.get_by_label("Reason").fill("the issuer is down")
    user.ok()
    expect(user.page.get_by_text("Break-glass is open until")).to_be_visible()
    user.page.goto(f"/clusters/local/elb/certificates?q={own}")
    user.page.get_by_role("link", name="Modify").click()
    user.paste(pair)
    user.ok()
    expect(user.page.get_by_text("Every listener serves the new certificate.")).to_be_visible()
    assert site.shown() == tls.fingerprint(pair.certificate)
    user.page.goto(f"/clusters/local/elb/certificates/{own}/history")
    user.page.get_by_role("button", name="End it now").click()
    expect(user.page.get_by_text("It follows Secret")).to_be_visible()


def test_an_expired_login_keeps_the_typed_text(log_in: LogIn, site: Site) -> None:
    user = log_in("member")
    pair = site.pair(days=71)
    user.page.goto(f"/clusters/local/secrets/{site.name}/{SECRET}/update")
    user.page.get_by_role("textbox", name="Certificate").fill(pair.certificate)
    user.page.get_by_role("textbox", name="Private Key").fill(pair.key)
    cookies = user.context.cookies()
    user.context.clear_cookies()
    user.page.get_by_role("button", name="OK", exact=True).click()
    expect(user.page.get_by_role("alert")).to_contain_text("Your login has ended.")
    user.context.add_cookies(
        [{"name": c["name"], "value": c["value"], "url": user.url} for c in cookies]
    )  # logged in again, in another tab
    user.page.get_by_role("button", name="OK", exact=True).click()
    expect(user.page.get_by_text("Every listener serves the new certificate.")).to_be_visible()
    assert site.shown() == tls.fingerprint(pair.certificate)


def test_access_list_and_redirect_from_http(user: User, site: Site) -> None:
    groups = site.system.elb_path("ipgroups")
    made = site.elb.want(201, "POST", groups, {"ipgroup": {"name": "office", "ip_list": [{"ip": "192.0.2.0/24"}]}})

    def offered() -> int:
        user.page.goto(f"/clusters/local/ingresses/{site.name}/{INGRESS}/update")
        return user.page.get_by_label("192.0.2.0/24").count()

    until(offered, "the console has heard of the group")
    expect(user.page.get_by_label("HTTP Port")).to_be_hidden()
    user.page.get_by_label("Access Control").select_option(label="Blocklist")
    user.page.get_by_role("checkbox", name="Redirect to HTTPS").check()
    user.page.get_by_label("HTTP Port").fill(str(site.port))
    user.page.get_by_role("button", name="OK", exact=True).click()
    expect(user.page.locator('[data-error="ipgroup"]')).to_contain_text("Select at least one")
    expect(user.page.locator('[data-error="http_port"]')).to_contain_text("need different ports")
    user.page.get_by_label("HTTP Port").fill("11680")
    user.page.get_by_role("checkbox", name="192.0.2.0/24").check()
    user.page.get_by_role("button", name="OK", exact=True).click()
    expect(user.page.get_by_text(f"Ingress {site.name}/{INGRESS} was updated.")).to_be_visible()
    until(lambda: site.listener()["ipgroup"]["ipgroup_id"] == made["ipgroup"]["id"], "the list is in force")
    until(lambda: _redirected(site, 11680) == 301, "HTTP leads to HTTPS")


def _redirected(site: Site, port: int) -> int:
    connection = http.client.HTTPConnection(site.address.ip, port, timeout=5)
    try:
        connection.request("GET", "/", headers={"Host": site.host})
        return connection.getresponse().status
    finally:
        connection.close()
