"""Several at once, and what hangs together: batches, cascades, tags, the echo of private keys."""

from __future__ import annotations

from typing import Any

import pytest

from tests.elb.support.server import Api, Elb, Reply, another, send
from tests.support.certs import authority


def content(*names: str) -> dict[str, str]:
    pair = authority().issue(*(names or ("a.example",)))
    return {"certificate": pair.certificate, "private_key": pair.key}


@pytest.fixture
def house(api: Api) -> dict[str, str]:
    """A load balancer with two listeners (one leads to the other), pool, member, monitor, policies."""
    lb = api.make("loadbalancer")["id"]
    cert = api.make("certificate", **content())["id"]
    http = api.make("listener", loadbalancer_id=lb, protocol="HTTP", protocol_port=80)["id"]
    https = api.make(
        "listener",
        loadbalancer_id=lb,
        protocol="HTTPS",
        protocol_port=443,
        default_tls_container_ref=cert,
        enhance_l7policy_enable=True,
    )["id"]
    pool = api.make("pool", listener_id=https, protocol="HTTP", lb_algorithm="ROUND_ROBIN")["id"]
    member = api.make("member", f"/pools/{pool}/members", address="127.0.0.7", protocol_port=1)["id"]
    monitor = api.make("healthmonitor", pool_id=pool, type="TCP", delay=5, timeout=3, max_retries=3)["id"]
    away = api.make("l7policy", listener_id=http, action="REDIRECT_TO_LISTENER", redirect_listener_id=https)
    rule = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/"}
    fields: dict[str, Any] = {"action": "REDIRECT_TO_POOL", "redirect_pool_id": pool, "rules": [rule]}
    inward = api.make("l7policy", listener_id=https, **fields)
    made = (lb, cert, http, https, pool, member, monitor, away["id"], inward["id"])
    return dict(zip(["lb", "cert", "http", "https", "pool", "member", "monitor", "away", "inward"], made, strict=True))


def there(api: Api, house: dict[str, str]) -> set[str]:
    plurals = {"lb": "loadbalancers", "cert": "certificates", "http": "listeners", "https": "listeners"}
    plurals |= {"pool": "pools", "monitor": "healthmonitors", "away": "l7policies", "inward": "l7policies"}
    found = {name for name, plural in plurals.items() if api("GET", f"/{plural}/{house[name]}").status == 200}
    members = api("GET", "/members", query=f"id={house['member']}").body["members"]
    return found | ({"member"} if members else set())


def test_deleting_a_listener_deletes_its_policies(api: Api, house: dict[str, str]) -> None:
    assert api("DELETE", f"/listeners/{house['https']}").status == 409
    assert api("DELETE", f"/listeners/{house['https']}/force").status == 204
    assert there(api, house) == {"lb", "cert", "http", "pool", "member", "monitor"}


def test_deleting_a_load_balancer_deletes_everything_below_it(api: Api, house: dict[str, str]) -> None:
    assert api("DELETE", f"/loadbalancers/{house['lb']}").status == 409
    protected = {"loadbalancer": {"deletion_protection_enable": True}}
    assert api("PUT", f"/loadbalancers/{house['lb']}", protected).status == 200
    assert api("DELETE", f"/loadbalancers/{house['lb']}/force-elb").status == 409
    protected["loadbalancer"]["deletion_protection_enable"] = False
    assert api("PUT", f"/loadbalancers/{house['lb']}", protected).status == 200
    assert api("DELETE", f"/loadbalancers/{house['lb']}/force-elb").status == 204
    assert there(api, house) == {"cert"}


def test_protected_members_protect_all_above_them(api: Api, house: dict[str, str]) -> None:
    protect = {"pool": {"member_deletion_protection_enable": True}}
    assert api("PUT", f"/pools/{house['pool']}", protect).status == 200
    before = there(api, house)
    path = f"/pools/{house['pool']}/members"
    for reply in (
        api("DELETE", f"/loadbalancers/{house['lb']}/force-elb"),
        api("DELETE", f"{path}/{house['member']}"),
        api("POST", f"{path}/batch-delete", {"members": [{"id": house["member"]}]}),
    ):
        assert (reply.status, reply.code) == (409, "ELB.8907")
    assert there(api, house) == before, "all or nothing"


@pytest.mark.parametrize("keep", [True, False])
def test_a_cascading_delete_may_keep_the_pools(api: Api, house: dict[str, str], keep: bool) -> None:
    body = {"loadbalancer": {"unbounded_pool": not keep, "public_ip": False}}
    assert api("POST", f"/loadbalancers/{house['lb']}/delete-cascade", body).status == 204
    kept = {"pool", "member", "monitor"} if keep else set[str]()
    assert there(api, house) == {"cert"} | kept


def test_deleting_a_pool_deletes_its_members_unless_a_policy_uses_it(api: Api, house: dict[str, str]) -> None:
    refused = api("DELETE", f"/pools/{house['pool']}/delete-cascade")
    assert (refused.status, house["inward"] in refused.sentence) == (409, True)
    assert api.show("listener", house["https"])["default_pool_id"] == house["pool"]
    assert api("DELETE", f"/l7policies/{house['inward']}").status == 204
    assert api("DELETE", f"/pools/{house['pool']}/delete-cascade").status == 204
    assert there(api, house) == {"lb", "cert", "http", "https", "away"}
    assert api.show("listener", house["https"])["default_pool_id"] is None


def test_a_batch_deletes_the_unused_certificates(elb: Elb, api: Api, house: dict[str, str]) -> None:
    free = [api.make("certificate", **content())["id"] for _ in range(2)]
    owned = elb.controller.make("certificate", **content())["id"]
    ids = [free[0], house["cert"], owned, "0" * 32, free[1]]
    reply = api("POST", "/certificates/batch-delete", {"certificates": ids})
    assert reply.status == 200
    results = {one["id"]: (one["ret_status"], one.get("ret_code")) for one in reply.body["certificates"]}
    assert results == {
        free[0]: ("successful", None),
        house["cert"]: ("failed", "ELB.8907"),
        owned: ("failed", "ELB.8907"),
        "0" * 32: ("not found", "ELB.8904"),
        free[1]: ("successful", None),
    }
    shown = api("GET", "/certificates", query="&".join(f"id={one}" for one in ids)).body["certificates"]
    assert {one["id"] for one in shown} == {house["cert"], owned}


def test_pools_in_one_request(api: Api, house: dict[str, str]) -> None:
    free = api.make("pool", type="ip", protocol="HTTP", lb_algorithm="ROUND_ROBIN")["id"]
    reply = api("POST", "/pools/batch-delete", {"pools": [free, house["pool"]]})
    assert [one["ret_status"] for one in reply.body["pools"]] == ["successful", "failed"]


def test_members_in_one_request(api: Api, house: dict[str, str]) -> None:
    path = f"/pools/{house['pool']}/members"
    new = [{"address": "127.0.0.7", "protocol_port": 1}, {"address": "127.0.0.8", "protocol_port": 1}]
    made = api("POST", f"{path}/batch-add", {"members": new})
    assert made.status == 201
    assert [one["ret_status"] for one in made.body["members"]] == ["existed", "successful"]
    ids = [one["id"] for one in made.body["members"]]
    assert ids[0] == house["member"]
    changes = [{"id": ids[0], "weight": 5}, {"id": ids[1], "name": "n", "protocol_port": 2}]
    changed = api("POST", f"{path}/batch-update", {"members": changes})
    assert [(one["weight"], one["name"]) for one in changed.body["members"]] == [(5, ""), (1, "n")]
    clash = [{"id": ids[0], "weight": 9}, {"id": ids[1], "weight": 101}]
    assert api("POST", f"{path}/batch-update", {"members": clash}).status == 400
    assert api("POST", f"{path}/batch-update", {"members": [{"id": "stranger"}]}).status == 400
    weights = [one["weight"] for one in api("GET", path).body["members"]]
    assert weights == [5, 1], "a refusal changes nothing"
    gone = [{"address": "127.0.0.8", "protocol_port": 2}, {"id": "x"}, {"id": ids[0]}]
    results = api("POST", f"{path}/batch-delete", {"members": gone}).body["members"]
    assert [one["ret_status"] for one in results] == ["successful", "not found", "successful"]
    assert api("POST", f"{path}/batch-delete", {"members": [{}]}).status == 400


def test_priorities_of_policies_are_changed_in_one_request(api: Api, house: dict[str, str]) -> None:
    fixed: dict[str, Any] = {"action": "FIXED_RESPONSE", "fixed_response_config": {"status_code": "404"}}
    other = api.make("l7policy", listener_id=house["https"], **fixed)
    assert (api.show("l7policy", house["inward"])["priority"], other["priority"]) == (1, 2)
    swap = [{"id": house["inward"], "priority": 2}, {"id": other["id"], "priority": 1}]
    assert api("POST", "/l7policies/batch-update-priority", {"l7policies": swap}).status == 202
    assert api.show("l7policy", other["id"])["priority"] == 1
    clash = api("POST", "/l7policies/batch-update-priority", {"l7policies": [*swap[:1], {**swap[1], "priority": 2}]})
    assert (clash.status, clash.code) == (409, "ELB.8907")
    shown = api("GET", "/l7policies", query=f"id={house['inward']}&display_all_rules=true").body["l7policies"]
    assert shown[0]["rules"][0]["type"] == "PATH"


def test_objects_are_filtered_by_their_members(api: Api, house: dict[str, str]) -> None:
    address = "127.9.9.9"
    api.make("member", f"/pools/{house['pool']}/members", address=address, protocol_port=1)
    for plural, name in (("loadbalancers", "lb"), ("listeners", "https"), ("pools", "pool")):
        found = api("GET", f"/{plural}", query=f"member_address={address}").body[plural]
        assert [one["id"] for one in found] == [house[name]]
        assert api("GET", f"/{plural}", query="member_device_id=x").body[plural] == []


@pytest.mark.parametrize("name", ["lb", "http"])
def test_tags_have_their_own_endpoints(elb: Elb, api: Api, house: dict[str, str], name: str) -> None:
    kind = "loadbalancers" if name == "lb" else "listeners"
    base = f"/v3/{api.project_id}/{kind}"

    def call(method: str, path: str, body: bytes = b"") -> Reply:
        return send(elb.origin, method, base + path, body, api.signed(method, base + path, body=body))

    mine = f"/{house[name]}/tags"
    tags = b'{"action":"create","tags":[{"key":"team","value":"red"},{"key":"k"}]}'
    assert call("POST", f"{mine}/action", tags).status == 204
    assert call("GET", mine).body["tags"] == [{"key": "team", "value": "red"}, {"key": "k", "value": ""}]
    assert {"key": "team", "values": ["red"]} in call("GET", "/tags").body["tags"]
    assert call("POST", f"{mine}/action", b'{"action":"delete","tags":[{"key":"k"}]}').status == 204
    assert call("GET", mine).body["tags"] == [{"key": "team", "value": "red"}]
    assert call("POST", f"{mine}/action", b'{"action":"smash","tags":[]}').status == 400
    assert api("DELETE", f"/listeners/{house['http']}/force").status == 204


def test_a_project_chooses_whether_keys_are_echoed(own: Elb) -> None:
    path = "/certificates/settings/private-key-echo"
    pair = content()
    made = own.admin.make("certificate", **pair)
    assert made["private_key"] == "******"
    assert own.admin("GET", path).body["private_key_echo"] is False
    on = own.admin("POST", path, {"private_key_echo": True})
    assert (on.status, on.body["private_key_echo"]) == (201, True)
    assert own.admin.show("certificate", made["id"])["private_key"] == pair["private_key"]
    assert own.admin("GET", "/certificates").body["certificates"][0]["private_key"] == pair["private_key"]
    reader, member = another(own, "reader", "reader"), another(own, "member", "member")
    assert reader.show("certificate", made["id"])["private_key"] == "******", "a reader gets no key"
    assert member("POST", path, {"private_key_echo": False}).code == "SYS.0403"
    assert own.admin("POST", path, {"private_key_echo": "yes"}).status == 400
    assert own.admin("POST", path, {"private_key_echo": False}).status == 201
    assert own.admin.show("certificate", made["id"])["private_key"] == "******"


@pytest.mark.parametrize(
    ("path", "kind", "fields"),
    [
        ("/listeners", "listener", {"quic_config": {"enable_quic_upgrade": True}}),
        ("/listeners", "listener", {"ssl_early_data_enable": True}),
        ("/pools", "pool", {"any_port_enable": True}),
        ("/l7policies", "l7policy", {"redirect_pools_extend_config": {"rewrite_url_enable": True}}),
    ],
)
def test_unsupported_operations_are_rejected(
    api: Api, house: dict[str, str], path: str, kind: str, fields: dict[str, Any]
) -> None:
    needed: dict[str, dict[str, Any]] = {
        "listener": {"loadbalancer_id": house["lb"], "protocol": "HTTP", "protocol_port": 8081},
        "pool": {"type": "ip", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"},
        "l7policy": {"listener_id": house["https"], "action": "REDIRECT_TO_POOL", "redirect_pool_id": house["pool"]},
    }
    reply = api("POST", path, {kind: needed[kind] | fields})
    assert (reply.status, reply.code) == (403, "ELB.8962")
    assert next(iter(fields)) in reply.sentence
    switched_off: dict[str, Any] = {name: False if value is True else {} for name, value in fields.items()}
    assert api("POST", path, {kind: needed[kind] | switched_off}).status == 201
