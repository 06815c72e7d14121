"""Both procedures of the manual, word for word, and each ends with a handshake outside the browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import expect

from tests.console.conftest import LogIn
from tests.console.user import User
from tests.e2e.support import tls
from tests.e2e.support.objects import CERTIFICATE_IDS
from tests.e2e.support.site import INGRESS, SECRET, Site
from tests.support import certs


@pytest.fixture(scope="module")
def site(make_site: Callable[[str, int], Site]) -> Site:
    return make_site("moving", 11444)


@pytest.fixture
def user(log_in: LogIn) -> User:
    return log_in()


def to_secrets(user: User, site: Site) -> None:
    """Log in to the console and click the cluster name to access the cluster console. In the navigation pane,
    choose ConfigMaps and Secrets. In the right pane, click the Secrets tab, find the secret used by the ingress."""
    user.choose("local", "ConfigMaps and Secrets", "Secrets")
    user.page.get_by_label("Search name, domain, ingress or host").fill(INGRESS + " " + site.name)
    expect(user.row(SECRET)).to_have_count(1)


def to_update(user: User, site: Site) -> None:
    """… choose Services & Ingresses. Then, click the Ingresses tab, locate the row containing the target ingress,
    and choose More > Update in the Operation column."""
    user.choose("local", "Services & Ingresses", "Ingresses")
    expect(user.page.get_by_role("columnheader", name="Operation")).to_be_visible()
    user.row(site.name).get_by_role("button", name="More").click()
    user.page.get_by_role("menuitem", name="Update").click()
    expect(user.dialog.get_by_role("heading", name="Update Ingress")).to_be_visible()


def served(user: User, site: Site, pair: certs.Pair) -> None:
    """The rotation's page says so, and a client outside the browser sees it."""
    expect(user.page.get_by_text("Every listener serves the new certificate.")).to_be_visible()
    seen = tls.fingerprint(pair.certificate)
    expect(user.page.locator("tbody tr").first).to_contain_text(
        ":".join(seen[i : i + 2] for i in range(0, 16, 2)).upper()
    )
    for instant in ("Changed", "Accepted", "Served"):
        expect(user.page.get_by_role("listitem").filter(has_text=instant).first).to_contain_text(":")
    assert site.shown() == seen


def test_procedure_for_tls_secret_certificates(user: User, site: Site, tmp_path: Path) -> None:
    new = site.pair(days=91)
    to_secrets(user, site)
    user.row(SECRET).get_by_role("link", name="Update").click()
    user.upload(tmp_path, new)  # modify the certificate file in the secret
    expect(user.dialog.get_by_text("New certificate")).to_be_visible()
    expect(user.dialog.locator(".compare section").last).to_contain_text("90 days left")
    user.ok()  # and click OK to update the secret
    served(user, site, new)


def test_the_certificate_alone_keeps_the_present_key(user: User, site: Site) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    first, second = site.pair(days=92, key=key), site.pair(days=93, key=key)
    site.put_secret(first)
    site.shows(first)
    to_secrets(user, site)
    user.row(SECRET).get_by_role("link", name="Update").click()
    user.paste(second, key=False)
    expect(user.dialog.get_by_text("KeyReused")).to_be_visible()
    user.ok()
    served(user, site, second)


def test_procedure_for_elb_server_certificates(user: User, site: Site) -> None:
    new = site.pair(days=201)
    before = site.get("apis/networking.k8s.io/v1", "ingresses", INGRESS)
    to_update(user, site)
    # Set Certificate Source to ELB server certificate, select a new server certificate (created in place) …
    user.dialog.get_by_label("Backend Protocol").select_option("http")
    user.dialog.get_by_role("radio", name="ELB server certificate").check()
    user.dialog.get_by_role("link", name="Create certificate").click()
    user.dialog.get_by_label("Certificate Name").fill("bought")
    user.paste(new)
    user.ok()
    chooser = user.dialog.get_by_role("combobox", name="Server Certificate")
    expect(chooser.locator("option:checked")).to_contain_text("bought")
    expect(user.dialog.get_by_label("Backend Protocol")).to_have_value("http")  # what was typed is still there
    expect(user.dialog.locator(".compare section").last).to_contain_text("200 days left")  # beside the present one
    user.dialog.get_by_role("button", name="Show YAML changes").click()
    expect(user.dialog.locator(".diff .added", has_text=CERTIFICATE_IDS)).to_be_visible()
    user.ok()  # … and click OK to update the ingress.
    served(user, site, new)
    after = site.get("apis/networking.k8s.io/v1", "ingresses", INGRESS)
    assert after["metadata"]["annotations"][CERTIFICATE_IDS] == site.listener()["default_tls_container_ref"]
    assert after["spec"]["tls"] == before["spec"]["tls"]


def test_an_ingress_returns_to_its_secret(user: User, site: Site) -> None:
    pair = site.pair(days=95)
    site.put_secret(pair)
    to_update(user, site)
    user.dialog.get_by_role("radio", name="TLS secret").check()
    user.ok()
    served(user, site, pair)
    after = site.get("apis/networking.k8s.io/v1", "ingresses", INGRESS)
    assert CERTIFICATE_IDS not in after["metadata"]["annotations"]


def test_new_content_on_the_elb_certificate_page(user: User, site: Site) -> None:
    site.annotate(ids=site.post_certificate(site.pair(days=202), "renewed"))
    new = site.pair(days=203)
    user.choose("local", "Certificates")
    user.row("renewed").get_by_role("link", name="Modify").click()
    user.paste(new)
    user.ok()
    served(user, site, new)
    site.annotate(ids=None)


@pytest.fixture
def by_hand(site: Site) -> Iterator[tuple[str, int]]:
    """A listener that no controller keeps, with a certificate of its own; that one's id, and the port."""
    port = 11459
    own = site.post_certificate(site.pair(days=30), "by hand")
    body = {
        "loadbalancer_id": site.system.endpoints.elb.loadbalancer_id,
        "name": "by-hand",
        "protocol": "HTTPS",
        "protocol_port": port,
        "default_tls_container_ref": own,
    }
    made = site.elb.want(201, "POST", site.system.elb_path("listeners"), {"listener": body})
    yield own, port
    site.elb.want(204, "DELETE", site.system.elb_path("listeners", made["listener"]["id"]))


def test_a_certificate_is_replaced_on_its_listeners_and_bound_to_another(
    user: User, site: Site, by_hand: tuple[str, int]
) -> None:
    own, port = by_hand
    new, other = site.pair(days=301), certs.authority().issue("by-hand.test.example")
    site.post_certificate(new, "the next one")
    site.annotate(ids=own)  # it serves an Ingress, too
    user.page.goto(f"/clusters/local/elb/certificates?q={own}")
    expect(user.row("by hand")).to_contain_text("k8s_HTTPS_11444")
    user.row("by hand").get_by_role("link", name="Delete").click()
    expect(user.dialog.get_by_role("button", name="Delete")).to_have_count(0)
    user.dialog.get_by_role("link", name="Replace on Listeners").click()
    expect(user.dialog).to_contain_text("Listener by-hand (HTTPS/11459), on the load balancer")
    expect(user.dialog).to_contain_text("Ingress moving/shop, its annotation")
    chooser = user.dialog.get_by_role("combobox", name="Replace by")
    chooser.select_option(chooser.locator("option", has_text="the next one").get_attribute("value"))
    expect(user.dialog.locator(".compare section").last).to_contain_text("300 days left")
    user.ok()
    served(user, site, new)
    hand = site.address._replace(port=port)
    assert tls.handshake(hand, site.host) == tls.fingerprint(new.certificate)
    body = {"name": "for a name", "certificate": other.certificate, "private_key": other.key}
    made = site.elb.want(
        201, "POST", site.system.elb_path("certificates"), {"certificate": body | {"domain": "by-hand.test.example"}}
    )
    user.page.goto(f"/clusters/local/elb/certificates?q={made['certificate']['id']}")
    user.row("for a name").get_by_role("button", name="More").click()
    user.page.get_by_role("menuitem", name="Bind to Listener").click()
    chooser = user.dialog.get_by_role("combobox", name="Listener")
    expect(chooser.locator("option")).to_have_count(1)  # none that a controller keeps
    user.dialog.get_by_role("radio", name="SNI Certificate").check()
    user.ok()
    expect(user.page.get_by_text("Every listener serves the new certificate.")).to_be_visible()
    assert tls.handshake(hand, "by-hand.test.example") == tls.fingerprint(other.certificate)
    assert tls.handshake(hand, site.host) == tls.fingerprint(new.certificate)
    site.annotate(ids=None)
