"""Accessibility: keyboard only, every role, light and dark, and axe's rules on each page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from certferry.console.routes import PAGES
from tests.console.conftest import LogIn
from tests.e2e.support.site import INGRESS, SECRET, Site


def pages(site: Site, certificate: str) -> list[str]:
    """Every page and dialog that can be looked at, for a site."""
    root, elb = "/clusters/local", "/clusters/local/elb"
    secret, ingress = f"{root}/secrets/{site.name}/{SECRET}", f"{root}/ingresses/{site.name}/{INGRESS}"
    balancer = f"{elb}/loadbalancers/{site.system.endpoints.elb.loadbalancer_id}"
    own = site.own_certificate()["id"]
    return [
        "/clusters",
        "/certificates",
        f"/search?q={site.name}",
        root,
        f"{root}/events",
        f"{root}/hosts",
        f"{root}/hosts/{site.host}",
        secret,
        ingress,
        f"{elb}/certificates/{own}",
        f"{elb}/listeners/{site.listener()['id']}",
        f"{root}/secrets",
        f"{root}/configmaps",
        f"{root}/ingresses",
        f"{root}/services",
        f"{root}/secrets/create",
        f"{root}/ingresses/create?namespace={site.name}",
        *(f"{secret}/{page}" for page in ("update", "delete", "events", "yaml", "yaml/edit")),
        *(f"{ingress}/{page}" for page in ("update", "delete", "events", "synchronize", "yaml", "yaml/edit")),
        f"{elb}/certificates",
        f"{elb}/certificates/create",
        *(f"{elb}/certificates/{certificate}/{page}" for page in ("modify", "delete", "protection", "replace", "bind")),
        f"{elb}/certificates/{own}/break-glass",
        f"{elb}/loadbalancers",
        *(f"{balancer}?tab={tab}" for tab in ("summary", "listeners", "policies", "status")),
        f"{root}/rotations/unknown",
    ]


@pytest.fixture(scope="module")
def certificate(shop: Site) -> str:
    return shop.post_certificate(shop.pair(), "spare")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_violation_on_any_page(log_in: LogIn, shop: Site, certificate: str, theme: str) -> None:
    user = log_in(theme=theme)
    found = {}
    for path in pages(shop, certificate):
        user.page.goto(path)
        if wrong := user.violations():
            found[path] = wrong
    assert found == {}


def test_axe_finds_no_violation_in_a_dialog_or_an_open_menu(log_in: LogIn, shop: Site) -> None:
    user = log_in()
    user.page.goto(f"/clusters/local/secrets?namespace={shop.name}")
    user.row(SECRET).get_by_role("link", name="Update").click()
    user.paste(shop.pair(days=-1))
    expect(user.dialog.locator(".findings .bad").first).to_be_visible()
    expect(user.dialog.locator("[data-blocked]")).to_be_visible()
    assert user.violations() == []
    user.page.once("dialog", lambda question: question.accept())
    user.page.keyboard.press("Escape")
    user.row(SECRET).get_by_role("button", name="More").click()
    assert user.violations() == []


def test_the_login_page(log_in: LogIn, shop: Site) -> None:
    user = log_in()
    page = user.context.browser.new_page(base_url=user.url) if user.context.browser else user.page
    page.goto("/clusters/local/secrets")  # leads to the login, and back
    assert urlsplit(page.url).path == "/login"
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("The user name or the password is wrong.")
    expect(page.get_by_label("Password")).to_have_value("")
    page.get_by_label("Password").fill(shop.system.endpoints.elb.password)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="ConfigMaps and Secrets")).to_be_visible()
    (cookie,) = [c for c in page.context.cookies() if c["name"].startswith("certferry-")]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    assert shop.system.endpoints.elb.password not in cookie["value"]
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.goto("/clusters")
    assert urlsplit(page.url).path == "/login"
    page.context.close()


NAME_IN_FOCUS = """() => {
    const e = document.activeElement ?? document.body;
    return e === document.body ? "" : (e.ariaLabel || e.labels?.[0]?.innerText || e.innerText || "").trim();
}"""


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the control of that name has the focus."""
    for _ in range(150):
        page.keyboard.press("Tab")
        said = page.evaluate(NAME_IN_FOCUS)
        if said.startswith(name):
            return
    raise AssertionError(f"Tab never came to “{name}”")


def test_every_dialog_by_the_keyboard_alone(log_in: LogIn, shop: Site, certificate: str) -> None:
    user = log_in()
    page, root = user.page, "/clusters/local"
    for path, ways in {
        f"{root}/secrets?namespace={shop.name}": ["Create Secret", "Update", "More > Events", "More > Delete"],
        f"{root}/ingresses?namespace={shop.name}": ["Create Ingress", "More > Update", "More > Events", "More > Delete"],
        f"{root}/elb/certificates?q=spare": [
            "Create Certificate", "Modify", "Delete", "More > Bind to Listener", "More > Modification Protection",
        ],
        f"{root}/elb/certificates?q={shop.own_certificate()['id']}": ["More > Replace on Listeners", "More > Break-glass"],
    }.items():  # fmt: skip
        page.goto(path)
        for way in ways:
            control, _, item = way.partition(" > ")
            page.locator("#main").focus()
            tab_to(page, control)
            page.keyboard.press("Enter")
            if item:
                expect(page.locator("[role=menuitem]:focus")).to_have_count(1)
                for _ in range(8):
                    if page.evaluate("document.activeElement.innerText") == item:
                        break
                    page.keyboard.press("ArrowDown")
                page.keyboard.press("Enter")
            expect(user.dialog).to_be_visible()
            assert user.dialog.locator(":focus").count() == 1, way  # the focus is in it …
            for _ in range(3):
                page.keyboard.press("Tab")
            assert page.locator("main :focus").count() == 0, way  # … and does not go behind it
            page.keyboard.press("Escape")
            expect(user.dialog).to_have_count(0)
            assert page.evaluate(NAME_IN_FOCUS).startswith(control), way


def test_procedure_1_by_the_keyboard_alone(log_in: LogIn, shop: Site) -> None:
    user = log_in()
    page = user.page
    for link, title in (("local", "Overview"), ("ConfigMaps and Secrets", "ConfigMaps"), ("Secrets", "Secrets")):
        tab_to(page, link)
        page.keyboard.press("Enter")
        expect(page).to_have_title(re.compile(title))
        page.wait_for_load_state()
    tab_to(page, "Update")
    page.keyboard.press("Enter")
    expect(user.dialog).to_be_visible()
    page.keyboard.insert_text(shop.pair(days=-1).certificate)
    tab_to(page, "OK")
    page.keyboard.press("Enter")
    expect(page.locator(":focus")).to_have_attribute("name", "certificate")  # where the error is


def acts(site: Site, certificate: str) -> Iterator[tuple[str, str, str]]:
    """Every page with its path filled in: for GET and POST, and the least role."""
    parts = {
        "cluster": "local", "namespace": site.name, "name": SECRET, "id": certificate, "kind": "secrets",
        "host": site.host,
    }  # fmt: skip
    for page in PAGES:
        path = page.path.format(**parts | ({"name": INGRESS} if "/ingresses/" in page.path else {}))
        if page.show:
            yield "GET", path, page.view_role
        if page.submit:
            yield "POST", path, page.edit_role


def test_a_reader_sees_no_secret_and_has_no_actions(log_in: LogIn, shop: Site, certificate: str) -> None:
    user = log_in("reader")
    root = "/clusters/local"
    user.page.goto(f"{root}/secrets")
    expect(user.page.get_by_text("Your role reader may not see Secrets.")).to_be_visible()
    key = shop.kube.want(200, "GET", f"/api/v1/namespaces/{shop.name}/secrets/{SECRET}")["data"]["tls.key"]
    for path in (f"{root}/ingresses", f"{root}/elb/certificates", f"{root}/configmaps", f"{root}/services", root):
        user.page.goto(path)
        texts = (
            user.page.get_by_role("main").locator("a.button:visible, button:visible, .operation > a").all_inner_texts()
        )
        assert {t.strip() for t in texts} <= {"More", ""}, path
        assert "Synchronize" not in user.page.content()
        menus = user.page.locator('main [role="menuitem"]').all_text_contents()
        assert set(menus) <= {"View YAML", "Events", "History"}, path  # not even hidden
    for method, path, least in acts(shop, certificate):
        answer = user.get(path) if method == "GET" and "/live" not in path else None
        if method == "POST":
            answer = user.post(path, typed=SECRET, name="mine", yaml="kind: Secret")
        if answer is None:
            continue
        if least != "reader" or "/secrets/" in path:
            assert answer.status == 403, (method, path)
        assert key not in answer.text(), path
    assert shop.uid()


def test_a_member_edits_but_cannot_use_break_glass(log_in: LogIn, shop: Site) -> None:
    user = log_in("member")
    own = shop.own_certificate()["id"]
    user.page.goto(f"/clusters/local/secrets?namespace={shop.name}")
    expect(user.row(SECRET).get_by_role("link", name="Update")).to_be_visible()
    user.page.goto(f"/clusters/local/elb/certificates?q={own}")
    assert "Break-glass" not in user.page.content()
    assert user.get(f"/clusters/local/elb/certificates/{own}/break-glass").status == 403
    assert user.post(f"/clusters/local/elb/certificates/{own}/break-glass", reason="x", hours="1").status == 403


def test_the_theme_follows_the_system_until_switched(log_in: LogIn) -> None:
    user = log_in(theme="dark")
    body = user.page.locator("body")
    dark = body.evaluate("e => getComputedStyle(e).backgroundColor")
    user.page.get_by_role("button", name="Theme").click()
    expect(user.page.locator("html")).to_have_attribute("data-theme", "light")
    assert body.evaluate("e => getComputedStyle(e).backgroundColor") != dark
    user.page.reload()
    expect(user.page.locator("html")).to_have_attribute("data-theme", "light")
    for _ in range(2):
        user.page.get_by_role("button", name="Theme").click()


def test_a_list_updates_itself_and_keeps_the_focus(log_in: LogIn, shop: Site) -> None:
    user = log_in()
    user.page.goto(f"/clusters/local/configmaps?namespace={shop.name}")
    expect(user.page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    user.page.get_by_label("Search name").focus()
    body = {"metadata": {"name": "fresh"}, "data": {"a": "b"}}
    shop.kube.want(201, "POST", f"/api/v1/namespaces/{shop.name}/configmaps", body)
    expect(user.row("fresh")).to_have_count(1)
    expect(user.page.get_by_label("Search name")).to_be_focused()
