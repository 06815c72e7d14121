from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tests.elb.support.server import Api
from tests.support.certs import authority


class Site(NamedTuple):
    listener: str
    secure: str
    pool: str


@pytest.fixture
def site(api: Api) -> Site:
    lb = api.make("loadbalancer")["id"]
    pair = authority().issue("a.example")
    certificate = api.make("certificate", certificate=pair.certificate, private_key=pair.key)["id"]
    fields: dict[str, Any] = {"loadbalancer_id": lb, "enhance_l7policy_enable": True}
    return Site(
        api.make("listener", protocol="HTTP", protocol_port=80, **fields)["id"],
        api.make("listener", protocol="HTTPS", protocol_port=443, default_tls_container_ref=certificate, **fields)[
            "id"
        ],
        api.make("pool", loadbalancer_id=lb, protocol="HTTP", lb_algorithm="ROUND_ROBIN")["id"],
    )


def host(value: str) -> dict[str, str]:
    return {"type": "HOST_NAME", "compare_type": "EQUAL_TO", "value": value}


def path(value: str, comparison: str = "STARTS_WITH") -> dict[str, str]:
    return {"type": "PATH", "compare_type": comparison, "value": value}


def test_a_policy_is_created_updated_and_deleted(api: Api, site: Site) -> None:
    fields: dict[str, Any] = {"listener_id": site.listener, "action": "REDIRECT_TO_POOL"}
    made = api.make("l7policy", redirect_pool_id=site.pool, rules=[host("a.example"), path("/x")], **fields)
    assert (made["priority"], made["provisioning_status"], len(made["rules"])) == (1, "ACTIVE", 2)
    one = f"/l7policies/{made['id']}"
    kept = made["rules"][0]
    body = {"l7policy": {"name": "n", "rules": [host("a.example"), path("/y")]}}
    changed = api("PUT", one, body).body["l7policy"]
    assert changed["name"] == "n"
    assert kept in changed["rules"], "a rule that stays the same keeps its id"
    shown = api("GET", f"{one}/rules").body["rules"]
    assert sorted(rule["value"] for rule in shown) == ["/y", "a.example"]
    assert api("DELETE", f"/pools/{site.pool}").status == 409
    assert api("DELETE", one).status == 204
    assert api("GET", f"{one}/rules").status == 404
    assert api("DELETE", f"/pools/{site.pool}").status == 204


def test_a_position_is_kept_as_sent(api: Api, site: Site) -> None:
    fields = {"listener_id": site.listener, "action": "REDIRECT_TO_POOL", "redirect_pool_id": site.pool}
    assert api.make("l7policy", **fields)["position"] is None
    for sent in (7, None):
        made = api.make("l7policy", position=sent, **fields)
        assert (made["position"], api.show("l7policy", made["id"])["position"]) == (sent, sent)
        changed = api("PUT", f"/l7policies/{made['id']}", {"l7policy": {"name": "n"}}).body["l7policy"]
        assert changed["position"] == sent
    for bad in ("7", -1, 1 << 40, True, [7]):
        assert api("POST", "/l7policies", {"l7policy": fields | {"position": bad}}).code == "ELB.8902", bad


def test_priorities_are_unique_and_grow(api: Api, site: Site) -> None:
    fields = {"listener_id": site.listener, "action": "REDIRECT_TO_POOL", "redirect_pool_id": site.pool}
    assert api.make("l7policy", priority=5, **fields)["priority"] == 5
    assert api.make("l7policy", **fields)["priority"] == 6
    assert api("POST", "/l7policies", {"l7policy": fields | {"priority": 5}}).status == 409


def test_each_action_needs_its_own_field(api: Api, site: Site) -> None:
    redirect = {"status_code": "301", "host": "b.example"}
    response = {"status_code": "503", "message_body": "later"}
    shares = [{"pool_id": site.pool, "weight": 30}]
    good: list[dict[str, Any]] = [
        {"action": "REDIRECT_TO_URL", "redirect_url_config": redirect},
        {"action": "FIXED_RESPONSE", "fixed_response_config": response},
        {"action": "REDIRECT_TO_POOL", "redirect_pools_config": shares},
        {"action": "REDIRECT_TO_LISTENER", "redirect_listener_id": site.secure},
    ]
    for fields in good:
        made = api.make("l7policy", listener_id=site.listener, **fields)
        assert made["action"] == fields["action"]
        assert made["redirect_listener_id"] == fields.get("redirect_listener_id")
    bad: list[dict[str, Any]] = [
        {"action": "REDIRECT_TO_POOL"},
        {"action": "REDIRECT_TO_POOL", "redirect_pool_id": site.pool, "redirect_listener_id": site.secure},
        {"action": "REDIRECT_TO_URL", "redirect_url_config": {"status_code": "301"}},
        {"action": "REDIRECT_TO_URL", "redirect_url_config": {"status_code": "200", "host": "b"}},
        {"action": "REDIRECT_TO_LISTENER", "redirect_listener_id": site.listener},
        {"action": "ELSEWHERE"},
    ]
    for fields in bad:
        body = {"l7policy": {"listener_id": site.listener, **fields}}
        assert api("POST", "/l7policies", body).code == "ELB.8902", fields


def test_without_advanced_forwarding_some_fields_are_rejected(api: Api) -> None:
    lb = api.make("loadbalancer")["id"]
    pool = api.make("pool", loadbalancer_id=lb, protocol="HTTP", lb_algorithm="ROUND_ROBIN")["id"]
    listener = api.make("listener", loadbalancer_id=lb, protocol="HTTP", protocol_port=80)["id"]
    base = {"listener_id": listener, "action": "REDIRECT_TO_POOL", "redirect_pool_id": pool}
    made = api.make("l7policy", **base)
    assert made["priority"] == 1
    back = {"name": "n", "priority": made["priority"]}
    assert api("PUT", f"/l7policies/{made['id']}", {"l7policy": back}).status == 200, "as it was shown"
    conditions = [{"value": "a.example"}, {"value": "b.example"}]
    for more in (
        {"priority": 3},
        {"rules": [host("*.example")]},
        {"rules": [{"type": "METHOD", "compare_type": "EQUAL_TO", "value": "GET"}]},
        {"rules": [{"type": "HOST_NAME", "compare_type": "EQUAL_TO", "conditions": conditions}]},
    ):
        reply = api("POST", "/l7policies", {"l7policy": base | more})
        assert (reply.status, "enhance_l7policy_enable" in reply.sentence) == (400, True)


def test_rules_are_checked(api: Api, site: Site) -> None:
    policy = api.make("l7policy", listener_id=site.listener, action="REDIRECT_TO_POOL", redirect_pool_id=site.pool)
    rules = f"/l7policies/{policy['id']}/rules"
    made = api.make("rule", rules, **host("a.example"))
    assert api("PUT", f"{rules}/{made['id']}", {"rule": {"value": "b.example"}}).body["rule"]["value"]
    for bad in (
        host("b.example"),  # a second one
        path("x"),
        path("(", "REGEX"),
        path("/(?=x)", "REGEX"),
        {"type": "PATH", "compare_type": "EQUAL_TO"},
        {"type": "HOST_NAME", "compare_type": "REGEX", "value": "x"},
        {"type": "HEADER", "compare_type": "EQUAL_TO", "conditions": [{"value": "x"}]},
        {"type": "MOON", "compare_type": "EQUAL_TO", "value": "x"},
    ):
        assert api("POST", rules, {"rule": bad}).code == "ELB.8902", bad
    api.make("rule", rules, **path("/v[0-9]+", "REGEX"))
    assert made["id"] in [rule["id"] for rule in api("GET", "/l7policies/rules").body["rules"]]
    assert api("DELETE", f"{rules}/{made['id']}").status == 204
    assert [rule["type"] for rule in api("GET", rules).body["rules"]] == ["PATH"]
