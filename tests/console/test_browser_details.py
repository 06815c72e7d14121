"""Detail pages, Overview, search and filters: each agrees with the host state, at three widths and in both themes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, expect

from tests.console.conftest import LogIn
from tests.console.user import User
from tests.e2e.support import objects, tls
from tests.e2e.support.site import INGRESS, SECRET, SERVICE, Site
from tests.e2e.support.waiting import until

ROOT = "/clusters/local"
PORT = 11446
WIDTHS = (1440, 1024, 390)
LOST = "lost.test.example"
"""The host of an Ingress whose Secret does not exist: clients get the certificate of another host."""


@pytest.fixture(scope="module")
def broken(make_site: Callable[[str, int], Site]) -> Site:
    """A site whose new certificate has expired, so that the previous one stays, beside an Ingress without Secret."""
    site = make_site("broken", PORT)
    site.put_secret(site.pair(days=-1))
    entry = [{"hosts": [LOST], "secretName": "gone"}]
    site.system.apply(objects.ingress(site.name, "lost", SERVICE, [LOST], entry, {objects.PORT: str(PORT)}))
    until(lambda: site.warnings("Ingress", "lost"), "the missing Secret is reported")
    until(lambda: site.warnings("Secret", SECRET), "the expired certificate is reported")
    return site


def resized(user: User, width: int) -> Iterator[User]:
    user.page.set_viewport_size({"width": width, "height": 900})
    yield user
    user.page.set_viewport_size({"width": 1280, "height": 900})


@pytest.fixture(params=WIDTHS)
def user(request: pytest.FixtureRequest, log_in: LogIn) -> Iterator[User]:
    yield from resized(log_in(), request.param)


@pytest.fixture(params=itertools.product(WIDTHS, ("light", "dark")), ids=lambda param: f"{param[0]}-{param[1]}")
def themed(request: pytest.FixtureRequest, log_in: LogIn) -> Iterator[User]:
    width, theme = request.param
    yield from resized(log_in(theme=theme), width)


def pages(site: Site) -> dict[str, str]:
    """Return the detail pages of a site, and the pages that list its objects."""
    return {
        "overview": ROOT,
        "hosts": f"{ROOT}/hosts",
        "host": f"{ROOT}/hosts/{site.host}",
        "lost": f"{ROOT}/hosts/{LOST}",
        "ingress": f"{ROOT}/ingresses/{site.name}/{INGRESS}",
        "secret": f"{ROOT}/secrets/{site.name}/{SECRET}",
        "certificate": f"{ROOT}/elb/certificates/{site.own_certificate()['id']}",
        "listener": f"{ROOT}/elb/listeners/{site.listener()['id']}",
        "search": f"/search?q={site.name}",
    }


def printed(fingerprint: str) -> str:
    return ":".join(fingerprint[i : i + 2] for i in range(0, 16, 2)).upper()


def inside(part: Locator, width: int) -> bool:
    box = part.bounding_box()
    return bool(box) and box["x"] >= 0 and box["x"] + box["width"] <= width + 0.5 if box else False


def width_of(user: User) -> int:
    size = user.page.viewport_size
    assert size
    return size["width"]


def test_no_page_needs_sideways_scrolling_and_axe_finds_nothing(themed: User, broken: Site) -> None:
    user = themed
    width, wrong = width_of(user), {}
    for name, path in pages(broken).items():
        user.page.goto(path)
        parts = [box for part in user.page.locator(".top > *:visible").all() if (box := part.bounding_box())]
        for left, right in itertools.pairwise(parts):
            assert left["x"] + left["width"] <= right["x"] + 1, name
        assert user.page.evaluate("document.documentElement.scrollWidth") <= width, name
        for state in user.page.locator("main .status:visible, main .pill:visible").all():
            assert inside(state, width), (name, state.inner_text())
        if found := user.violations():
            wrong[name] = found
    assert wrong == {}


def test_lists_show_status_and_expiry_without_scrolling(user: User, broken: Site) -> None:
    for page in ("ingresses", "secrets", "elb/certificates", "hosts"):
        user.page.goto(f"{ROOT}/{page}?q={broken.name}")
        row = user.page.locator("tbody tr").first
        for part in (row.locator(".status").first, row.locator(".pill").first, row.get_by_role("link").first):
            assert inside(part, width_of(user)), page


def test_overview_says_what_is_wrong_and_lists_each_problem_once(user: User, broken: Site) -> None:
    user.page.goto(f"{ROOT}?namespace={broken.name}")
    expect(user.page.locator("#health-title")).to_have_text("1 of 2 hosts needs attention.")
    expect(user.page.locator("#tile-wrong")).to_contain_text("1")
    expect(user.page.locator("#tile-right")).to_contain_text("1")
    problems = user.page.locator(".problems > li")
    # of the expired certificate the Ingress bears the same Warning as the Secret
    expect(problems).to_have_count(2)
    expect(problems.first).to_contain_text(f"Ingress {broken.name}/lost")
    expect(problems.first).to_contain_text("kubectl get secret gone -n broken")
    expect(problems.last).to_contain_text(f"Secret {broken.name}/{SECRET}")
    expect(problems.last).to_contain_text("certferry cert replace broken/shop-tls")
    expect(user.page).to_have_title(re.compile(r"^\(\d+ wrong.*\) Overview of local"))
    expect(user.page.locator("#health")).to_contain_text("wrong")


def test_the_cause_is_two_clicks_from_the_overview_and_agrees_with_a_handshake(user: User, broken: Site) -> None:
    user.page.goto(f"{ROOT}?namespace={broken.name}")
    user.page.locator(".problems").get_by_role("link", name=LOST).click()
    expect(user.page.get_by_role("heading", name=LOST)).to_be_visible()
    expect(user.page.locator(".head .status")).to_have_text("Wrong certificate served")
    shown = tls.handshake(broken.address, LOST)
    section = user.page.locator(".compare section").filter(has_text="Shown in a handshake")
    expect(section).to_contain_text(printed(shown))
    expect(user.page.locator(".verdict")).to_contain_text(f"which does not cover {LOST}")
    user.page.locator(".problems").get_by_role("link", name="Ingress broken/lost").click()
    expect(user.page.get_by_role("heading", name="lost Ingress in broken")).to_be_visible()
    expect(user.page.locator("#events-title")).to_be_visible()
    expect(user.page.get_by_text("SecretNotFound").first).to_be_visible()


def test_detail_pages_lead_to_each_other(user: User, broken: Site) -> None:
    page, served = user.page, tls.handshake(broken.address, broken.host)
    page.goto(f"{ROOT}/ingresses?q={broken.host}")
    page.locator("tbody th a").first.click()
    expect(page.get_by_role("heading", name=f"{INGRESS} Ingress in broken")).to_be_visible()
    connected = page.locator("section").filter(has=page.get_by_role("heading", name="Connected"))
    hosts = page.locator("section").filter(has=page.get_by_role("heading", name="Hosts"))
    expect(hosts).to_contain_text(printed(served))
    connected.get_by_role("link", name=f"broken/{SECRET}").click()
    expect(page.get_by_role("heading", name=f"{SECRET} Secret in broken")).to_be_visible()
    expect(page.locator("#why")).to_contain_text("Rejected the new certificate")
    expect(page.locator(".history")).to_contain_text("Served")
    connected.get_by_role("link", name="k8s_plb_default").click()
    expect(page.get_by_role("heading", name="ELB certificate")).to_be_visible()
    expect(page.get_by_role("heading", name="Versions")).to_be_visible()
    connected.get_by_role("link", name=f"k8s_HTTPS_{PORT}").click()
    expect(page.get_by_role("heading", name=f"Listener HTTPS/{PORT}")).to_be_visible()
    hosts.get_by_role("link", name=broken.host).first.click()
    expect(page.get_by_role("heading", name=broken.host)).to_be_visible()
    expect(page.locator("time").first).to_have_attribute("title", re.compile(r"\d UTC$"))


def test_one_search_finds_everything(user: User, broken: Site) -> None:
    page, served = user.page, tls.handshake(broken.address, broken.host)
    page.goto(ROOT)
    if width_of(user) > 760:
        page.keyboard.press("/")
        expect(page.locator("#search-all")).to_be_focused()
    else:
        page.get_by_role("button", name="Navigation").click()
        page.locator(".search-narrow input").focus()
    page.keyboard.insert_text(f"{broken.host}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("result"))).to_be_visible()
    for kind in ("Hosts", "Ingresses", "Secrets", "ELB certificates"):
        expect(page.get_by_role("heading", name=re.compile(f"^{kind}"))).to_be_visible()
    for fingerprint in (served, printed(served), served[:16]):
        page.goto(f"/search?q={fingerprint}")
        expect(page.get_by_role("heading", name="1 result")).to_be_visible()
    page.get_by_role("link", name="k8s_plb_default").click()
    expect(page.get_by_role("heading", name="ELB certificate")).to_be_visible()
    page.goto("/search?q=nothing-has-this-name")
    expect(page.get_by_text("Nothing matches.")).to_be_visible()


def test_filters_and_order_are_in_the_address(user: User, broken: Site) -> None:
    page = user.page
    page.goto(f"{ROOT}/hosts?namespace={broken.name}")
    page.get_by_role("group", name="Status").get_by_role("link", name="Wrong").click()
    expect(page).to_have_url(re.compile("status=wrong"))
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("#count")).to_have_text("1 of 2 hosts")
    page.reload()
    expect(page.locator("tbody tr")).to_contain_text(LOST)
    page.get_by_role("group", name="Status").get_by_role("link", name="Wrong").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.goto(f"{ROOT}/ingresses?namespace={broken.name}&health=right&sort=-name")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.goto(f"{ROOT}/ingresses?namespace={broken.name}")
    if width_of(user) > 760:
        page.get_by_role("columnheader", name="Status").get_by_role("link").click()
        expect(page).to_have_url(re.compile("sort=status"))
        expect(page.locator("tbody tr").first).to_contain_text(LOST)
    assert user.get(f"{ROOT}/hosts?status=nonsense").status == 400
    for order in ("name", "type", "domains", "expires", "listeners", "source", "status"):
        assert user.get(f"{ROOT}/elb/certificates?sort={order}").status == 200
    for order in ("name", "type", "domains", "expires", "served", "used", "created"):
        assert user.get(f"{ROOT}/secrets?sort=-{order}").status == 200
    for order in ("host", "status", "expires", "source", "address", "ingresses"):
        assert user.get(f"{ROOT}/hosts?sort={order}").status == 200
    page.goto(f"{ROOT}/hosts?namespace={broken.name}&q=no-such-host")
    expect(page.get_by_text("No hosts match. Clear the search or the filter.")).to_be_visible()


def test_commands_and_fingerprints_are_copied(log_in: LogIn, broken: Site) -> None:
    user = log_in()
    user.context.grant_permissions(["clipboard-read", "clipboard-write"])
    user.page.goto(f"{ROOT}/hosts/{broken.host}")
    user.page.locator(".commands").get_by_role("button", name="Copy the command").first.click()
    expect(user.page.get_by_text("Copied.")).to_be_visible()
    command = user.page.evaluate("navigator.clipboard.readText()")
    assert command.startswith(f"openssl s_client -connect {broken.address.ip}:{broken.address.port} ")
    assert f"-servername {broken.host} " in command
    user.page.get_by_role("button", name="Copy the SHA-256 fingerprint").first.click()
    served = tls.handshake(broken.address, broken.host)
    until(lambda: user.page.evaluate("navigator.clipboard.readText()") == served, "the whole fingerprint is copied")


def test_a_reader_sees_no_link_to_a_secret(log_in: LogIn, broken: Site) -> None:
    user = log_in("reader")
    for name, path in pages(broken).items():
        answer = user.get(path)
        assert answer.status == (403 if name == "secret" else 200), name
        if name != "secret":
            user.page.goto(path)
            assert user.page.locator('a[href*="/secrets/"]').count() == 0, name
            assert user.page.locator("main a.button").count() == 0, name
