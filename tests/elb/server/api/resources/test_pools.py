from __future__ import annotations

from typing import Any

import pytest

from tests.elb.support.server import Api
from tests.support.certs import authority


@pytest.fixture
def lb(api: Api) -> str:
    return str(api.make("loadbalancer")["id"])


@pytest.fixture
def pool(api: Api, lb: str) -> str:
    return str(api.make("pool", loadbalancer_id=lb, protocol="HTTP", lb_algorithm="ROUND_ROBIN")["id"])


def test_a_pool_is_created_updated_and_deleted(api: Api, lb: str) -> None:
    sticky = {"type": "HTTP_COOKIE", "persistence_timeout": 5}
    made = api.make(
        "pool",
        loadbalancer_id=lb,
        protocol="HTTP",
        lb_algorithm="LEAST_CONNECTIONS",
        session_persistence=sticky,
        slow_start={"enable": True, "duration": 60},
    )
    assert made["session_persistence"] == sticky | {"cookie_name": None}
    assert (made["loadbalancers"], made["listeners"], made["members"]) == ([{"id": lb}], [], [])
    path = f"/pools/{made['id']}"
    changed = api("PUT", path, {"pool": {"session_persistence": None, "name": "p"}}).body["pool"]
    assert (changed["session_persistence"], changed["name"]) == (None, "p")
    assert changed["slow_start"] == {"enable": True, "duration": 60}
    assert api("PUT", path, {"pool": {"protocol": "HTTPS"}}).status == 400
    assert api("DELETE", path).status == 204


def test_a_pool_needs_a_load_balancer_a_listener_or_a_type(api: Api) -> None:
    fields = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    assert api("POST", "/pools", {"pool": fields}).code == "ELB.8902"
    assert api("POST", "/pools", {"pool": fields | {"type": "instance"}}).status == 400, "in which VPC?"
    assert api.make("pool", type="instance", vpc_id="v", **fields)["loadbalancers"] == []


@pytest.mark.parametrize("way", ["one", "cascade", "batch"])
def test_deleting_a_default_pool_unsets_it_on_its_listener(api: Api, lb: str, pool: str, way: str) -> None:
    listener = api.make("listener", loadbalancer_id=lb, protocol="HTTP", protocol_port=80, default_pool_id=pool)["id"]
    if way == "batch":
        done = api("POST", "/pools/batch-delete", {"pools": [pool]}).body["pools"]
        assert done == [{"id": pool, "ret_status": "successful"}]
    else:
        assert api("DELETE", f"/pools/{pool}{'/delete-cascade' if way == 'cascade' else ''}").status == 204
    assert api("GET", f"/pools/{pool}").status == 404
    assert api.show("listener", listener)["default_pool_id"] is None


def test_session_persistence_has_the_default_timeout_of_its_type(api: Api, lb: str) -> None:
    wanted = (("HTTP", "HTTP_COOKIE", None, 1440), ("HTTP", "APP_COOKIE", "c", 1440), ("TCP", "SOURCE_IP", None, 1))
    for protocol, kind, cookie, minutes in wanted:
        sticky = {"type": kind, "cookie_name": cookie} if cookie else {"type": kind}
        made = api.make(
            "pool", loadbalancer_id=lb, protocol=protocol, lb_algorithm="ROUND_ROBIN", session_persistence=sticky
        )
        full = {"type": kind, "cookie_name": cookie, "persistence_timeout": minutes}
        assert made["session_persistence"] == api.show("pool", made["id"])["session_persistence"] == full


def test_a_pool_with_members_or_a_monitor_is_not_deleted(api: Api, pool: str) -> None:
    path = f"/pools/{pool}"
    member = api.make("member", f"{path}/members", address="127.0.0.1", protocol_port=1)
    assert api("DELETE", path).status == 409
    api("DELETE", f"{path}/members/{member['id']}")
    monitor = api.make("healthmonitor", pool_id=pool, type="TCP", delay=5, timeout=3, max_retries=3)
    assert api("DELETE", path).status == 409
    api("DELETE", f"/healthmonitors/{monitor['id']}")
    assert api("DELETE", path).status == 204


def test_a_listener_accepts_pools_of_its_protocol_and_load_balancer(api: Api, lb: str) -> None:
    away = api.make("loadbalancer")["id"]
    pools = [
        api.make("pool", loadbalancer_id=where, protocol=protocol, lb_algorithm="ROUND_ROBIN")["id"]
        for where, protocol in ((lb, "HTTPS"), (away, "HTTP"))
    ]
    for one in pools:
        fields = {"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": 80, "default_pool_id": one}
        assert api("POST", "/listeners", {"listener": fields}).code == "ELB.8902"


def test_layer_4_listeners_accept_pools_of_their_protocol(api: Api, lb: str) -> None:
    pools = {
        protocol: api.make("pool", loadbalancer_id=lb, protocol=protocol, lb_algorithm="ROUND_ROBIN")["id"]
        for protocol in ("HTTP", "TCP", "UDP", "TLS")
    }
    certificate = authority().issue("tls.example")
    default = api.make("certificate", certificate=certificate.certificate, private_key=certificate.key)["id"]
    accepted = set()
    for listener in ("TCP", "UDP", "TLS"):
        own = {"default_tls_container_ref": default} if listener == "TLS" else {}
        for protocol, pool in pools.items():
            fields = {"loadbalancer_id": lb, "protocol": listener, "protocol_port": 443, "default_pool_id": pool, **own}
            reply = api("POST", "/listeners", {"listener": fields})
            if reply.status == 201:
                accepted.add((listener, protocol))
                api("DELETE", f"/listeners/{reply.body['listener']['id']}")
    assert accepted == {("TCP", "TCP"), ("UDP", "UDP"), ("TLS", "TCP"), ("TLS", "TLS")}


def test_members_of_a_udp_pool_are_not_monitored(api: Api, lb: str) -> None:
    pool = api.make("pool", loadbalancer_id=lb, protocol="UDP", lb_algorithm="ROUND_ROBIN")["id"]
    api.make("member", f"/pools/{pool}/members", address="127.0.0.1", protocol_port=53)
    check: dict[str, Any] = {"delay": 5, "timeout": 3, "max_retries": 3}
    assert api("POST", "/healthmonitors", {"healthmonitor": check | {"pool_id": pool, "type": "TCP"}}).status == 400
    monitor = api.make("healthmonitor", pool_id=pool, type="UDP_CONNECT", **check)
    listener = api.make("listener", loadbalancer_id=lb, protocol="UDP", protocol_port=53, default_pool_id=pool)
    tree = api("GET", f"/loadbalancers/{lb}/statuses").body["statuses"]["loadbalancer"]
    branch = tree["listeners"][0]
    assert (branch["id"], branch["operating_status"], branch["l7policies"]) == (listener["id"], "ONLINE", [])
    assert branch["pools"][0]["members"][0]["operating_status"] == "NO_MONITOR"
    assert branch["pools"][0]["healthmonitor"]["id"] == monitor["id"]


def test_a_member_is_created_updated_and_deleted(api: Api, pool: str) -> None:
    path = f"/pools/{pool}/members"
    made = api.make("member", path, address="127.0.0.1", protocol_port=8080, weight=5)
    assert (made["operating_status"], made["member_type"], made["ip_version"]) == ("NO_MONITOR", "ip", "v4")
    twin = {"member": {"address": "127.0.0.1", "protocol_port": 8080}}
    assert api("POST", path, twin).status == 409
    one = f"{path}/{made['id']}"
    changed = api("PUT", one, {"member": {"weight": 0, "protocol_port": 8081}}).body["member"]
    assert (changed["weight"], changed["protocol_port"]) == (0, 8081)
    assert api("PUT", one, {"member": {"address": "127.0.0.2"}}).status == 400
    assert api("PUT", one, {"member": {"weight": 101}}).status == 400
    assert api("POST", path, {"member": {"address": "nowhere", "protocol_port": 1}}).status == 400
    elsewhere = api.make("pool", type="ip", protocol="HTTP", lb_algorithm="ROUND_ROBIN")["id"]
    assert api("GET", f"/pools/{elsewhere}/members/{made['id']}").status == 404
    assert made["id"] in [member["id"] for member in api("GET", "/members").body["members"]]
    assert api("DELETE", one).status == 204
    assert api("GET", path).body["members"] == []


def test_a_health_monitor_is_created_updated_and_deleted(api: Api, pool: str) -> None:
    fields: dict[str, Any] = {"pool_id": pool, "type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 3}
    made = api.make("healthmonitor", **fields)
    assert (made["url_path"], made["expected_codes"], made["max_retries_down"]) == ("/", "200", 3)
    assert made["pools"] == [{"id": pool}]
    assert api.show("pool", pool)["healthmonitor_id"] == made["id"]
    assert api("POST", "/healthmonitors", {"healthmonitor": fields}).status == 409, "one a pool"
    path = f"/healthmonitors/{made['id']}"
    changed = api("PUT", path, {"healthmonitor": {"url_path": "/ready", "monitor_port": 99}})
    assert changed.body["healthmonitor"]["url_path"] == "/ready"
    assert api("PUT", path, {"healthmonitor": {"type": "UDP_CONNECT"}}).status == 400
    assert api("PUT", path, {"healthmonitor": {"delay": 51}}).status == 400
    assert api("DELETE", path).status == 204
    assert api.show("pool", pool)["healthmonitor_id"] is None
