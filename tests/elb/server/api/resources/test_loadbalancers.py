from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.elb.support.server import Api, Elb, serving, settings_in


def test_a_load_balancer_is_created_updated_and_deleted(api: Api) -> None:
    made = api.make("loadbalancer", name="lb", availability_zone_list=["eu-de-01"], vpc_id="v", unknown=1)
    assert made["provisioning_status"] == "ACTIVE"
    assert (made["name"], made["guaranteed"], made["provider"]) == ("lb", True, "vlb")
    assert made["certferry"] == {"privileged_shift": 0, "port_shift": 0}
    assert api.show("loadbalancer", made["id"]) == made
    body = {"loadbalancer": {"description": "d", "name": None}}
    changed = api("PUT", f"/loadbalancers/{made['id']}", body).body["loadbalancer"]
    assert (changed["description"], changed["name"], changed["vpc_id"]) == ("d", "", "v")
    assert api("DELETE", f"/loadbalancers/{made['id']}").status == 204
    assert api("GET", f"/loadbalancers/{made['id']}").status == 404


def test_each_load_balancer_gets_its_own_address_and_freed_ones_are_reused(own: Elb) -> None:
    api = own.admin
    first, second = api.make("loadbalancer"), api.make("loadbalancer")
    assert (first["vip_address"], second["vip_address"]) == ("127.83.41.10", "127.83.41.11")
    assert api.make("loadbalancer", vip_address="127.83.41.77")["vip_address"] == "127.83.41.77"
    api("DELETE", f"/loadbalancers/{first['id']}")
    assert api.make("loadbalancer")["vip_address"] == "127.83.41.10"
    taken = api("POST", "/loadbalancers", {"loadbalancer": {"vip_address": "127.83.41.11"}})
    assert (taken.status, taken.code) == (409, "ELB.8907")
    for bad in ("10.0.0.1", "127.83.41.255", "x"):
        assert api("POST", "/loadbalancers", {"loadbalancer": {"vip_address": bad}}).status == 400


def test_load_balancers_on_one_address_have_separate_ports(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, vip_shared_address="127.0.0.1", privileged_shift=8000)
    with serving(settings) as elb:
        for shift in (0, 10_000):
            made = elb.admin.make("loadbalancer")
            assert made["vip_address"] == "127.0.0.1"
            assert made["certferry"] == {"privileged_shift": 8000, "port_shift": shift}
            listener = elb.admin.make("listener", loadbalancer_id=made["id"], protocol="HTTP", protocol_port=80)
            assert listener["certferry"] == {"bind_address": "127.0.0.1", "bind_port": 8080 + shift}
        clash = {"loadbalancer_id": made["id"], "protocol": "HTTP", "protocol_port": 8080}
        assert elb.admin("POST", "/listeners", {"listener": clash}).status == 409, "80 is there already"


def test_a_protected_or_used_load_balancer_is_not_deleted(api: Api) -> None:
    made = api.make("loadbalancer", deletion_protection_enable=True)
    path = f"/loadbalancers/{made['id']}"
    assert api("DELETE", path).status == 409
    api("PUT", path, {"loadbalancer": {"deletion_protection_enable": False}})
    fields: dict[str, Any] = {"loadbalancer_id": made["id"], "protocol": "HTTP"}
    listener = api.make("listener", protocol_port=80, **fields)
    assert api("DELETE", path).status == 409
    api("DELETE", f"/listeners/{listener['id']}")
    pool = api.make("pool", lb_algorithm="ROUND_ROBIN", **fields)
    assert api("DELETE", path).status == 409
    api("DELETE", f"/pools/{pool['id']}")
    assert api("DELETE", path).status == 204


def test_shared_load_balancers_are_rejected(api: Api) -> None:
    reply = api("POST", "/loadbalancers", {"loadbalancer": {"guaranteed": False}})
    assert (reply.status, reply.code) == (400, "ELB.8902")


def test_a_requested_public_address_is_assigned_at_once(api: Api) -> None:
    made = api.make("loadbalancer", publicip={"network_type": "5_bgp", "bandwidth": {"size": 5}})
    assert made["publicips"][0]["publicip_address"] == made["vip_address"]
    assert made["eips"][0]["eip_id"] == made["publicips"][0]["publicip_id"]


def test_the_status_tree_is_complete(api: Api) -> None:
    lb = api.make("loadbalancer", name="tree")
    listener = api.make(
        "listener", loadbalancer_id=lb["id"], protocol="HTTP", protocol_port=80, enhance_l7policy_enable=True
    )
    pool = api.make("pool", listener_id=listener["id"], protocol="HTTP", lb_algorithm="ROUND_ROBIN")
    member = api.make("member", f"/pools/{pool['id']}/members", address="127.0.0.1", protocol_port=1)
    monitor = api.make("healthmonitor", pool_id=pool["id"], type="TCP", delay=5, timeout=3, max_retries=3)
    rules = [{"type": "HOST_NAME", "compare_type": "EQUAL_TO", "value": "a.example"}]
    for _ in range(2):
        policy = api.make(
            "l7policy", listener_id=listener["id"], action="REDIRECT_TO_POOL", redirect_pool_id=pool["id"], rules=rules
        )
    tree = api("GET", f"/loadbalancers/{lb['id']}/statuses").body["statuses"]["loadbalancer"]
    branch = tree["listeners"][0]
    assert (tree["id"], branch["id"], tree["pools"][0]["id"]) == (lb["id"], listener["id"], pool["id"])
    assert branch["pools"] == tree["pools"]
    assert tree["pools"][0]["members"][0]["id"] == member["id"]
    assert tree["pools"][0]["healthmonitor"]["id"] == monitor["id"]
    assert branch["l7policies"][1]["id"] == policy["id"]
    states = [one["provisioning_status"] for one in branch["l7policies"]]
    assert states == ["ACTIVE", "ERROR"], "the second has the same rules"
    assert branch["operating_status"] == "DEGRADED"
