"""What windows of any width show: complete tables, a header whose parts do not overlap, navigation on error pages."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from playwright.sync_api import Dialog, expect

from tests.console.conftest import LogIn
from tests.console.user import User
from tests.e2e.support.site import SECRET, Site

PAGES = ("ingresses", "services", "secrets", "configmaps", "events", "elb/certificates", "elb/loadbalancers")
ALIGNED = """table => [...table.tBodies[0].rows].every(row => {
  const shown = cells => [...cells].filter(c => c.offsetWidth).map(c => Math.round(c.getBoundingClientRect().left));
  return row.querySelector(".empty") || String(shown(row.cells)) === String(shown(table.tHead.rows[0].cells));
})"""


@pytest.fixture(params=[1440, 1024, 390])
def user(request: pytest.FixtureRequest, log_in: LogIn) -> Iterator[User]:
    user = log_in()
    user.page.set_viewport_size({"width": request.param, "height": 800})
    yield user
    user.page.set_viewport_size({"width": 1280, "height": 900})


def window(user: User) -> int:
    size = user.page.viewport_size
    assert size
    return size["width"]


def open_navigation(user: User) -> None:
    """On a narrow window the navigation is a menu."""
    if window(user) < 761:
        expect(user.page.get_by_role("link", name="Services & Ingresses")).to_be_hidden()
        user.page.get_by_role("button", name="Navigation").click()


def test_every_cell_stands_below_its_heading_and_status_is_in_sight(user: User, shop: Site) -> None:
    for page in PAGES:
        user.page.goto(f"/clusters/local/{page}")
        table, width = user.page.get_by_role("table"), window(user)
        assert width < 761 or table.evaluate(ALIGNED), page
        assert user.page.evaluate("document.documentElement.scrollWidth") <= width, page
        status, operation = (user.page.locator(f"th.col-{key}") for key in ("status", "operation"))
        if width >= 1024 and status.count():
            left, right = status.bounding_box(), operation.bounding_box()
            assert left, page
            assert right, page
            assert left["x"] + left["width"] <= right["x"] + 1, page


def test_the_parts_of_the_header_do_not_overlap(user: User, shop: Site) -> None:
    user.page.goto("/clusters/local/ingresses")
    parts = user.page.locator(".top > *:visible").all()
    boxes = [box for part in parts if (box := part.bounding_box())]
    for left, right in itertools.pairwise(boxes):
        assert left["x"] + left["width"] <= right["x"] + 1
    assert boxes[-1]["x"] + boxes[-1]["width"] <= window(user)
    expect(user.page.get_by_role("button", name="Log out")).to_be_visible()


def test_an_error_page_keeps_the_navigation_of_its_cluster(user: User, shop: Site) -> None:
    for path in ("nothing", "secrets/none/none/update", "elb/certificates/none"):
        user.page.goto(f"/clusters/local/{path}")
        expect(user.page.get_by_role("heading", name="Not found")).to_be_visible()
        open_navigation(user)
        expect(user.page.get_by_role("link", name="Services & Ingresses")).to_be_visible()


def test_a_busy_banner_does_not_cover_the_navigation(user: User, shop: Site) -> None:
    user.page.goto("/clusters/local")
    for kind in ("banner", "dot", "pill"):
        placed = f"""() => {{ const p = document.createElement("p"); p.className = "{kind} busy";
            document.querySelector("main").prepend(p); return getComputedStyle(p).position; }}"""
        assert user.page.evaluate(placed) == "static", kind


def test_escape_asks_before_typed_text_is_lost(user: User, shop: Site) -> None:
    user.page.goto(f"/clusters/local/secrets?namespace={shop.name}")
    user.row(SECRET).get_by_role("link", name="Update").click()
    asked: list[str] = []

    def decline(question: Dialog) -> None:
        asked.append(question.message)
        question.dismiss()

    user.page.once("dialog", decline)
    field = user.dialog.get_by_role("textbox", name="Certificate")
    field.fill("typed")
    field.press("Escape")
    expect(field).to_have_value("typed")
    assert "lose what you typed" in asked[0]
    user.page.once("dialog", lambda question: question.accept())
    user.dialog.get_by_role("link", name="Cancel").click()
    expect(user.page.get_by_role("dialog")).to_have_count(0)
    user.row(SECRET).get_by_role("link", name="Update").click()
    user.dialog.get_by_role("textbox", name="Certificate").press("Escape")  # nothing is typed, so no question
    expect(user.page.get_by_role("dialog")).to_have_count(0)
