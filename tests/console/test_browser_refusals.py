"""What must not be done is refused, in words beside the field, and what was typed stays."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.console.conftest import LogIn
from tests.console.user import User
from tests.e2e.support.objects import CERTIFICATE_IDS as IDS
from tests.e2e.support.site import SECRET, Site
from tests.support import certs


@pytest.fixture
def user(log_in: LogIn) -> User:
    return log_in()


@pytest.fixture
def update(user: User, shop: Site) -> User:
    """Before the Update dialog of a Secret in use."""
    user.page.goto(f"/clusters/local/secrets?namespace={shop.name}")
    user.row(SECRET).get_by_role("link", name="Update").click()
    expect(user.dialog.get_by_role("heading", name="Update Secret")).to_be_visible()
    return user


@pytest.mark.parametrize(
    ("make", "field", "sentence"),
    [
        (lambda site: site.pair(days=-1), "certificate", "it expired on"),
        (lambda site: site.pair(started=-2), "certificate", "not valid before"),
        (lambda site: certs.authority().issue("elsewhere.test.example"), "certificate", "not for still.test.example"),
        (lambda site: site.pair()._replace(key=site.pair().key), "private_key", "does not match the certificate"),
        (lambda site: site.pair()._replace(key="nonsense"), "private_key", "not PEM"),
        (lambda site: site.pair()._replace(certificate="nonsense"), "certificate", "not PEM"),
    ],
    ids=["expired", "not yet", "a host is lost", "another key", "no key", "no certificate"],
)
def test_an_unusable_certificate_is_rejected(
    update: User, shop: Site, make: Callable[[Site], certs.Pair], field: str, sentence: str
) -> None:
    before, pair = shop.shown(), make(shop)
    update.paste(pair)
    expect(update.dialog.locator(".findings .bad").first).to_contain_text(sentence)  # while one types
    ok = update.dialog.get_by_role("button", name="OK")
    expect(ok).to_be_disabled()
    expect(ok).to_have_accessible_description(re.compile(re.escape(sentence)))
    expect(update.dialog.get_by_role("textbox", name="Private Key")).to_have_value(pair.key)
    secret = f"/clusters/local/secrets/{shop.name}/{SECRET}/update"
    answer = update.post(secret, certificate=pair.certificate, private_key=pair.key)
    assert (answer.status, sentence in answer.text()) == (422, True)
    assert shop.shown() == before


def test_the_new_certificate_alone_needs_its_key(update: User, shop: Site) -> None:
    update.paste(shop.pair(), key=False)
    expect(update.dialog.locator("[data-blocked]")).to_contain_text("Enter the new private key too")
    expect(update.dialog.get_by_role("button", name="OK")).to_be_disabled()


def test_an_unservable_choice_is_rejected(user: User, shop: Site) -> None:
    pair = certs.authority().issue("elsewhere.test.example", days=300)
    body = {"name": "for elsewhere", "certificate": pair.certificate, "private_key": pair.key}
    shop.elb.want(201, "POST", shop.system.elb_path("certificates"), {"certificate": body})
    user.page.goto("/clusters/local/elb/certificates?q=for+elsewhere")
    expect(user.row("for elsewhere")).to_have_count(1)
    user.page.goto(f"/clusters/local/ingresses/{shop.name}/shop/update")
    user.page.get_by_role("radio", name="ELB server certificate").check()
    chooser = user.page.get_by_role("combobox", name="Server Certificate")
    chooser.select_option(chooser.locator("option", has_text="for elsewhere").get_attribute("value"))
    sentence = "it is for elsewhere.test.example and not for still.test.example"
    expect(user.page.locator(".findings .bad").first).to_contain_text(sentence)  # while one chooses
    ok = user.page.get_by_role("button", name="OK")
    expect(ok).to_be_disabled()
    expect(user.page.locator("[data-blocked]")).to_contain_text(sentence)
    chooser.select_option("")
    expect(ok).to_be_enabled()
    assert IDS not in shop.get("apis/networking.k8s.io/v1", "ingresses", "shop")["metadata"]["annotations"]


def test_a_concurrent_change_is_not_overwritten(update: User, shop: Site) -> None:
    label = {"metadata": {"labels": {"touched": "yes"}}}
    path = f"/api/v1/namespaces/{shop.name}/secrets/{SECRET}"
    shop.kube.want(200, "PATCH", path, label, kind="application/merge-patch+json")
    update.paste(shop.pair())
    update.ok()
    expect(update.dialog.get_by_role("alert")).to_contain_text("This Secret was changed in the meantime")


def test_a_secret_of_another_tool_warns_that_the_tool_overwrites_it(user: User, shop: Site) -> None:
    mark = {"metadata": {"annotations": {"cert-manager.io/certificate-name": "still"}}}
    path = f"/api/v1/namespaces/{shop.name}/secrets/{SECRET}"
    shop.kube.want(200, "PATCH", path, mark, kind="application/merge-patch+json")
    user.page.goto(f"/clusters/local/secrets/{shop.name}/{SECRET}/update")
    expect(user.page.get_by_text("Managed by cert-manager.")).to_be_visible()
    mark["metadata"]["annotations"] = {"cert-manager.io/certificate-name": None}  # type: ignore[dict-item]
    shop.kube.want(200, "PATCH", path, mark, kind="application/merge-patch+json")


def test_a_managed_certificate_cannot_be_changed_on_the_elb(user: User, shop: Site) -> None:
    own = shop.own_certificate()
    user.choose("local", "Certificates")
    row = user.row(own["name"])
    for name in ("Modify", "Delete"):
        button = row.get_by_role("button", name=name)
        expect(button).to_have_attribute("aria-disabled", "true")
        assert "Update the Secret" in (button.get_attribute("title") or "")
    row.get_by_role("link", name=f"{shop.name}/{SECRET}").click()
    expect(user.page.get_by_role("heading", name=SECRET)).to_be_visible()
    # neither by its address nor by a form made by hand
    path = f"/clusters/local/elb/certificates/{own['id']}"
    assert user.get(f"{path}/modify").status == 409
    assert user.post(f"{path}/modify", name="mine").status == 409
    assert user.post(f"{path}/delete").status == 409
    assert shop.own_certificate()["name"] == own["name"]


def test_a_certificate_in_use_is_not_deleted_and_one_without_use_is(user: User, shop: Site) -> None:
    shop.post_certificate(shop.pair(), "left over")
    user.choose("local", "Certificates")
    user.row("left over").get_by_role("link", name="Delete").click()
    user.ok("Delete")
    expect(user.row("left over")).to_have_count(0)


def test_delete_shows_the_impact_and_requires_the_name_of_an_object_in_use(user: User, shop: Site) -> None:
    user.page.goto(f"/clusters/local/secrets?namespace={shop.name}")
    user.row(SECRET).get_by_role("button", name="More").click()
    user.page.get_by_role("menuitem", name="Delete").click()
    expect(user.dialog).to_contain_text("One Ingress names it: still/shop.")
    expect(user.dialog).to_contain_text("nothing renews it")
    user.ok("Delete")
    expect(user.dialog.locator('[data-error="typed"]')).to_contain_text(f"Type {SECRET}")
    assert shop.uid()
    user.page.keyboard.press("Escape")
    user.page.goto(f"/clusters/local/ingresses/{shop.name}/shop/delete")
    expect(user.page.get_by_text("Port 11443 (HTTPS) of the load balancer closes")).to_be_visible()


def test_edit_yaml_shows_the_diff_first_and_keeps_masked_values(user: User, shop: Site) -> None:
    path = f"/api/v1/namespaces/{shop.name}/secrets/{SECRET}"
    before = shop.kube.want(200, "GET", path)
    user.page.goto(f"/clusters/local/secrets/{shop.name}/{SECRET}/yaml/edit")
    text = user.page.get_by_role("textbox", name="YAML")
    shown = text.input_value()
    assert before["data"]["tls.key"] not in shown
    text.fill(shown.replace("type: kubernetes.io/tls", "type: kubernetes.io/tls\nimmutable: false"))
    user.page.get_by_role("button", name="OK").click()
    expect(user.page.get_by_role("alert")).to_contain_text("Click “Show changes” first")
    user.page.get_by_role("button", name="Show changes").click()
    expect(user.page.locator(".diff .added")).to_have_text("+immutable: false")
    user.page.get_by_role("button", name="OK").click()
    expect(user.row(SECRET)).to_have_count(1)
    after = shop.kube.want(200, "GET", path)
    assert after["immutable"] is False
    assert after["data"] == before["data"]


def test_missing_pages_say_so(user: User) -> None:
    for path, status in {
        "/clusters/nowhere": 404,
        "/clusters/local/secrets/a/b/update": 404,
        "/clusters/local/elb/certificates/unknown/history": 404,
        "/clusters/local/rotations/unknown": 404,
        "/clusters/local/secrets?page=0": 400,
        "/clusters/local/secrets?page=x": 400,
        "/clusters/local/secrets?page=99": 404,
        "/clusters/local/secrets?sort=nothing": 400,
        "/clusters/local/pods/a/b/yaml": 404,
        "/nothing": 404,
    }.items():
        assert user.get(path).status == status, path
    user.page.goto("/clusters/local/rotations/unknown")
    user.page.get_by_role("navigation").get_by_role("link", name="Load Balancers").click()  # the way on is still there
    expect(user.page.get_by_role("heading", name="Load Balancers")).to_be_visible()


def test_a_form_without_its_token_or_from_another_origin_is_rejected(user: User, shop: Site) -> None:
    path = f"/clusters/local/secrets/{shop.name}/{SECRET}/delete"
    request = user.context.request
    assert request.post(path, form={"typed": SECRET}, max_redirects=0).status == 403
    assert request.post(path, form={"typed": SECRET, "csrf": "guessed"}, max_redirects=0).status == 403
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    token = user.page.locator('meta[name="csrf"]').get_attribute("content") or ""
    form: dict[str, str | float | bool] = {"typed": SECRET, "csrf": token}
    assert request.post(path, form=form, headers=foreign, max_redirects=0).status == 403
    assert shop.uid()
