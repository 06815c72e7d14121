"""Many writes in one transaction."""

from __future__ import annotations

from typing import Any

import pytest

from tests.elb.support.server import Elb, another
from tests.support.certs import authority


@pytest.fixture(scope="module")
def loadbalancer(elb: Elb) -> str:
    return str(elb.admin.make("loadbalancer")["id"])


def item(method: str, path: str, key: str = "", **body: Any) -> dict[str, Any]:
    return {"method": method, "path": path, "key": key, "body": body or None}


def pool(loadbalancer: str, name: str, key: str = "") -> dict[str, Any]:
    fields = {"loadbalancer_id": loadbalancer, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "name": name}
    return item("POST", "/pools", key, pool=fields)


def bulk(elb: Elb, *items: dict[str, Any], **more: Any) -> dict[str, Any]:
    reply = elb.admin.extension("POST", "/bulk", {"items": items, **more})
    assert reply.status == 200, reply.body
    return reply.body


def names(elb: Elb) -> set[str]:
    return {one["name"] for one in elb.admin("GET", "/pools").body["pools"]}


def records(elb: Elb) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = elb.admin.extension("GET", "/audit", query="limit=1000").body["records"]
    return answer


def test_items_refer_to_objects_that_earlier_items_create(elb: Elb) -> None:
    pair = authority().issue("bulk.example")
    content = {"certificate": pair.certificate, "private_key": pair.key, "domain": "bulk.example"}
    listener = {"protocol": "HTTPS", "protocol_port": 443, "loadbalancer_id": "@lb", "sni_container_refs": ["@crt"]}
    rule = {"type": "HOST_NAME", "compare_type": "EQUAL_TO", "value": "bulk.example"}
    policy = {"listener_id": "@listener", "action": "REDIRECT_TO_POOL", "redirect_pool_id": "@pool", "rules": [rule]}
    answer = bulk(
        elb,
        item("POST", "/loadbalancers", "lb", loadbalancer={"name": "bulk"}),
        item("POST", "/certificates", "crt", certificate=content),
        pool("@lb", "refers", "pool"),
        item("POST", "/pools/@pool/members", member={"address": "127.0.0.1", "protocol_port": 80}),
        item("POST", "/listeners", "listener", listener={**listener, "default_tls_container_ref": "@crt"}),
        item("POST", "/l7policies", l7policy=policy),
        item("PUT", "/pools/@pool", pool={"name": "referred"}),
    )
    assert [one["status"] for one in answer["items"]] == [201, 201, 201, 201, 201, 201, 200], answer
    assert "referred" in names(elb)
    certificate = answer["items"][1]["body"]["certificate"]
    assert elb.admin.show("listener", answer["items"][4]["id"])["default_tls_container_ref"] == certificate["id"]
    assert certificate["private_key"] == "******"


@pytest.mark.parametrize("wrong", ["lb_algorithm", "loadbalancer_id", "path", "reference"])
def test_an_atomic_call_is_done_whole_or_not_at_all(elb: Elb, loadbalancer: str, wrong: str) -> None:
    bad = pool(loadbalancer, "bad")
    match wrong:
        case "path":
            bad["path"] = "/quotas"
        case "reference":
            bad["path"], bad["method"] = "/pools/@nothing", "PUT"
        case field:
            bad["body"]["pool"][field] = "none"
    answer = bulk(elb, pool(loadbalancer, "first"), bad, pool(loadbalancer, "last"))
    assert not answer["committed"]
    statuses = [one["status"] for one in answer["items"]]
    assert (statuses[0], statuses[2]) == (424, 424)
    assert statuses[1] in (400, 404, 424)
    assert not names(elb) & {"first", "bad", "last"}


def test_items_of_another_call_fail_alone_and_with_those_that_refer_to_them(elb: Elb, loadbalancer: str) -> None:
    bad = pool(loadbalancer, "bad", "bad")
    bad["body"]["pool"]["lb_algorithm"] = "none"
    member = item("POST", "/pools/@bad/members", member={"address": "127.0.0.1", "protocol_port": 80})
    answer = bulk(elb, pool(loadbalancer, "first"), bad, member, pool(loadbalancer, "last"), atomic=False)
    assert [one["status"] for one in answer["items"]] == [201, 400, 424, 201]
    assert names(elb) >= {"first", "last"}


def test_a_repeated_call_writes_nothing_again(elb: Elb, loadbalancer: str) -> None:
    first = bulk(elb, pool(loadbalancer, "once"), key="k")
    again = bulk(elb, pool(loadbalancer, "once"), key="k")
    assert again["repeated"]
    assert [one["id"] for one in again["items"]] == [one["id"] for one in first["items"]]
    assert sum(one["name"] == "once" for one in elb.admin("GET", "/pools").body["pools"]) == 1
    other = elb.admin.extension("POST", "/bulk", {"items": [pool(loadbalancer, "other")], "key": "k"})
    assert other.status == 409, other.body


def test_each_item_needs_the_role_and_the_project_of_its_own_request(elb: Elb, loadbalancer: str) -> None:
    reader = another(elb, "bulk-reader", "reader")
    assert reader.extension("POST", "/bulk", {"items": [pool(loadbalancer, "r")]}).status == 403
    member = another(elb, "bulk-member", "member")
    pair = authority().issue("owned.example")
    owned = elb.controller.make(
        "certificate", domain="owned.example", certificate=pair.certificate, private_key=pair.key
    )
    change = item("PUT", f"/certificates/{owned['id']}", certificate={"domain": "x.example"})
    answer = member.extension("POST", "/bulk", {"items": [change], "atomic": False}).body
    assert answer["items"][0]["status"] == 409  # locked: its owner is a controller


def test_each_item_stands_in_the_audit_log(elb: Elb, loadbalancer: str) -> None:
    answer = bulk(elb, pool(loadbalancer, "audited-1"), pool(loadbalancer, "audited-2"))
    ids = {one["id"] for one in answer["items"]}
    assert {one["resource_id"] for one in records(elb)} >= ids


def test_a_hostile_body_is_refused(elb: Elb) -> None:
    bodies: tuple[Any, ...] = ([{"method": "GET", "path": "/pools"}], [{"method": "POST", "path": 3}], [{}] * 1001, "x")
    for items in bodies:
        assert elb.admin.extension("POST", "/bulk", {"items": items}).status == 400
    nested = item("POST", "/bulk", items=[])
    assert bulk(elb, nested)["items"][0]["status"] == 404
