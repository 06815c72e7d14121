from __future__ import annotations

from typing import Any

import pytest

from tests.elb.support.server import Elb, another
from tests.support.certs import Pair, authority

SOURCE = {"cluster": "blue", "namespace": "shop", "secret": "shop-tls"}


def content(pair: Pair) -> dict[str, str]:
    return {"certificate": pair.certificate, "private_key": pair.key}


@pytest.fixture
def owned(elb: Elb) -> dict[str, Any]:
    return elb.controller.make(
        "certificate",
        name="k8s_plb_default_blue_shop_tls",
        description='{"secret_id":"3c1f"}',
        certferry={"source": SOURCE},
        **content(authority().issue("shop.example")),
    )


def test_a_controllers_certificate_has_its_owner(elb: Elb, owned: dict[str, Any]) -> None:
    assert owned["certferry"]["owner"] == "blue"
    assert owned["certferry"]["source"] == SOURCE
    path = f"/certificates/{owned['id']}"
    for reply in (
        elb.admin("PUT", path, {"certificate": content(authority().issue("shop.example"))}),
        elb.admin("PUT", path, {"certificate": {"name": "mine"}}),
        elb.admin("DELETE", path),
    ):
        assert (reply.status, reply.code) == (409, "ELB.8907")
        assert "cluster blue" in reply.sentence
        assert "shop/shop-tls" in reply.sentence
        assert "change that Secret" in reply.sentence
    assert elb.admin.show("certificate", owned["id"]) == owned, "anybody may read it"


def test_a_controller_changes_and_deletes_its_own_certificate(elb: Elb, owned: dict[str, Any]) -> None:
    renewed = authority().issue("shop.example")
    moved = SOURCE | {"secret": "renamed"}
    body = {"certificate": {**content(renewed), "certferry": {"source": moved}}}
    reply = elb.controller("PUT", f"/certificates/{owned['id']}", body)
    assert reply.status == 200
    assert reply.body["certificate"]["certificate"] == renewed.certificate
    assert reply.body["certificate"]["certferry"]["source"] == moved
    assert elb.controller("DELETE", f"/certificates/{owned['id']}").status == 204


def test_another_clusters_controller_has_no_access(elb: Elb, owned: dict[str, Any]) -> None:
    green = another(elb, "controller-green", "controller", cluster="green")
    assert green("DELETE", f"/certificates/{owned['id']}").status == 409
    mine = elb.admin.make("certificate", **content(authority().issue("a.example")))
    assert green("DELETE", f"/certificates/{mine['id']}").status == 403, "nor does it touch an admin's"


def test_other_users_cannot_create_managed_names_or_marks(elb: Elb) -> None:
    pair = content(authority().issue("a.example"))
    for marks in ({"name": "k8s_plb_default_x"}, {"description": '{"secret_id":"1"}'}):
        reply = elb.admin("POST", "/certificates", {"certificate": {**pair, **marks}})
        assert (reply.status, reply.code) == (409, "ELB.8907")
        made = elb.admin.make("certificate", **pair)
        assert elb.admin("PUT", f"/certificates/{made['id']}", {"certificate": marks}).status == 409


def test_only_a_controller_sets_the_source_of_a_certificate(elb: Elb) -> None:
    pair = content(authority().issue("a.example"))
    made = elb.admin.make("certificate", certferry={"source": SOURCE, "owner": "blue"}, **pair)
    assert made["certferry"]["owner"] is None
    assert made["certferry"]["source"] is None


def test_console_protection_is_a_mark_that_the_api_ignores(elb: Elb) -> None:
    marks = {"protection_status": "consoleProtection", "protection_reason": "ask the web team"}
    made = elb.admin.make("certificate", **content(authority().issue("a.example")), **marks)
    assert {key: made[key] for key in marks} == marks
    path = f"/certificates/{made['id']}"
    renewed = {"certificate": content(authority().issue("a.example"))}
    assert elb.admin("PUT", path, renewed).status == 200
    assert elb.admin.show("certificate", made["id"])["protection_status"] == "consoleProtection"
    cleared = elb.admin("PUT", path, {"certificate": {"protection_status": "nonProtection"}})
    assert cleared.body["certificate"]["protection_status"] == "nonProtection"
    assert elb.admin("PUT", path, {"certificate": {"protection_status": "locked"}}).status == 400
    assert elb.admin("PUT", path, {"certificate": {"protection_reason": "<b>"}}).status == 400
    assert elb.admin("DELETE", path).status == 204
