from __future__ import annotations

from typing import Any

import pytest

from tests.elb.support.server import Api, Elb, stored
from tests.support.certs import authority


@pytest.fixture
def lb(api: Api) -> str:
    return str(api.make("loadbalancer")["id"])


def certificate(api: Api, name: str, domain: str = "") -> str:
    pair = authority().issue(name)
    fields = {"certificate": pair.certificate, "private_key": pair.key, "domain": domain}
    return str(api.make("certificate", **fields)["id"])


def test_a_listener_is_created_updated_and_deleted(api: Api, lb: str) -> None:
    default = certificate(api, "a.example")
    made = api.make(
        "listener",
        loadbalancer_id=lb,
        protocol="TERMINATED_HTTPS",
        protocol_port=443,
        default_tls_container_ref=default,
        insert_headers={"X-Forwarded-Host": True},
    )
    assert (made["protocol"], made["tls_ciphers_policy"]) == ("HTTPS", "tls-1-2-fs-with-1-3")
    assert made["http2_enable"] is True
    assert made["loadbalancers"] == [{"id": lb}]
    assert "loadbalancer_id" not in made
    assert (made["keepalive_timeout"], made["connection_limit"]) == (60, -1)
    path = f"/listeners/{made['id']}"
    unsaid = api("PUT", path, {"listener": {"insert_headers": {"X-Forwarded-Host": None}}})
    assert unsaid.body["listener"]["insert_headers"] == {}
    body = {"listener": {"http2_enable": True, "insert_headers": None, "keepalive_timeout": 10}}
    changed = api("PUT", path, body).body["listener"]
    assert (changed["http2_enable"], changed["insert_headers"]) == (True, {})
    assert changed["default_tls_container_ref"] == default
    assert api.show("listener", made["id"]) == changed
    assert api("DELETE", path).status == 204
    assert api("GET", path).status == 404


def test_what_a_listener_says_of_tls_and_http2_stays(api: Api, lb: str) -> None:
    fields: dict[str, Any] = {
        "protocol": "HTTPS",
        "protocol_port": 443,
        "default_tls_container_ref": certificate(api, "a.example"),
    }
    said: dict[str, Any] = {"tls_ciphers_policy": "tls-1-2", "http2_enable": False}
    made = api.make("listener", loadbalancer_id=lb, **fields, **said)
    path = f"/listeners/{made['id']}"
    after = api("PUT", path, {"listener": {"name": "other"}}).body["listener"]
    assert {field: after[field] for field in said} == said
    reset = api("PUT", path, {"listener": dict.fromkeys(said)}).body["listener"]
    assert (reset["tls_ciphers_policy"], reset["http2_enable"]) == ("tls-1-2-fs-with-1-3", True)
    plain = api.make("listener", loadbalancer_id=lb, protocol="HTTP", protocol_port=80)
    assert (plain["tls_ciphers_policy"], plain["http2_enable"]) == (None, False)


def test_a_port_is_used_once(api: Api, lb: str) -> None:
    fields: dict[str, Any] = {"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": 80}
    api.make("listener", **fields)
    reply = api("POST", "/listeners", {"listener": fields})
    assert (reply.status, reply.code) == (409, "ELB.8907")


@pytest.mark.parametrize("name", ["", " ", "a b", "a\r\nX-Evil: 1", ":path", "é", "a" * 129, "a:b", "a\x00"])
def test_an_alias_of_an_inserted_header_is_a_header_name(api: Api, lb: str, name: str) -> None:
    headers = {"X-Real-IP": True, "X-Real-IP-alias": name}
    listener = {"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": 80, "insert_headers": headers}
    reply = api("POST", "/listeners", {"listener": listener})
    assert reply.status == (201 if name == "" else 400), reply.body


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Transfer-Encoding", "CONNECTION", "TE", "Upgrade", "x-envoy-retry-on"]
)
def test_an_alias_is_not_a_header_that_frames_messages(api: Api, lb: str, name: str) -> None:
    made = api.make("listener", loadbalancer_id=lb, protocol="HTTP", protocol_port=80)
    headers = {"X-Real-IP": True, "X-Real-IP-alias": name}
    reply = api("PUT", f"/listeners/{made['id']}", {"listener": {"insert_headers": headers}})
    assert (reply.status, "X-Real-IP-alias" in reply.sentence) == (400, True)


def test_invalid_listeners_are_rejected_with_a_reason(api: Api, lb: str) -> None:
    default, bare = certificate(api, "a.example"), certificate(api, "b.example")
    authority_id = api.make("certificate", type="client", certificate=authority().certificate)["id"]
    base = {"loadbalancer_id": lb, "protocol": "HTTPS", "protocol_port": 443}
    full = base | {"default_tls_container_ref": default}
    cases: list[tuple[dict[str, Any], int, str]] = [
        (base, 400, "default_tls_container_ref"),
        (base | {"default_tls_container_ref": "0" * 32}, 404, "could not be found"),
        (base | {"default_tls_container_ref": authority_id}, 400, "server"),
        (full | {"sni_container_refs": [bare]}, 400, "no domain"),
        (full | {"client_ca_tls_container_ref": default}, 400, "client"),
        (full | {"tls_ciphers_policy": "tls-9"}, 400, "tls-1-2"),
        (full | {"protocol": "UDP"}, 400, "HTTPS or TLS"),
        (full | {"protocol": "QUIC"}, 400, "protocol"),
        (base | {"protocol": "TLS"}, 400, "default_tls_container_ref"),
        (base | {"protocol": "TCP", "keepalive_timeout": 9}, 400, "10 to 4000"),
        (base | {"protocol": "UDP", "proxy_protocol_enable": True}, 400, "TCP and TLS"),
        (full | {"protocol": "HTTP"}, 400, "HTTPS"),
        (full | {"protocol_port": 0}, 400, "protocol_port"),
        (full | {"loadbalancer_id": "x"}, 404, "could not be found"),
        (full | {"default_pool_id": "x"}, 404, "could not be found"),
        (full | {"client_timeout": 301}, 400, "300"),
    ]
    for fields, status, words in cases:
        reply = api("POST", "/listeners", {"listener": fields})
        assert reply.status == status, reply.body
        assert words in reply.sentence
    assert api("GET", "/listeners", query=f"loadbalancer_id={lb}").body["listeners"] == []


def test_layer_4_listeners_have_their_own_defaults(api: Api, lb: str) -> None:
    base: dict[str, Any] = {"loadbalancer_id": lb, "protocol_port": 443}
    tcp = api.make("listener", **base | {"protocol": "TCP"})
    udp = api.make("listener", **base | {"protocol": "UDP", "client_timeout": 7})
    assert api("POST", "/listeners", {"listener": base | {"protocol": "HTTP"}}).code == "ELB.8907", "the port is TCP's"
    assert api("POST", "/listeners", {"listener": base | {"protocol": "UDP"}}).code == "ELB.8907"
    default = certificate(api, "tls.example")
    tls = api.make(
        "listener", **base | {"protocol": "TLS", "protocol_port": 8443, "default_tls_container_ref": default}
    )
    for made in (tcp, udp, tls):
        assert (made["keepalive_timeout"], made["client_timeout"], made["member_timeout"]) == (300, None, None)
        assert (made["http2_enable"], made["proxy_protocol_enable"]) == (False, False)
    assert (tcp["tls_ciphers_policy"], tls["tls_ciphers_policy"]) == (None, "tls-1-2-fs-with-1-3")
    path = f"/listeners/{tcp['id']}"
    changed = api("PUT", path, {"listener": {"keepalive_timeout": 4000, "proxy_protocol_enable": True}}).body[
        "listener"
    ]
    assert (changed["keepalive_timeout"], changed["proxy_protocol_enable"]) == (4000, True)
    reset = api("PUT", path, {"listener": {"keepalive_timeout": None, "proxy_protocol_enable": None}}).body["listener"]
    assert (reset["keepalive_timeout"], reset["proxy_protocol_enable"]) == (300, False)
    policy = {"listener_id": tls["id"], "action": "REDIRECT_TO_POOL", "redirect_pool_id": "x"}
    assert "no forwarding policies" in api("POST", "/l7policies", {"l7policy": policy}).sentence


def test_certificates_of_a_tls_listener_are_in_use_as_those_of_an_https_one(api: Api, lb: str) -> None:
    default, sni = certificate(api, "a.example"), certificate(api, "b.example", "b.example")
    fields: dict[str, Any] = {"default_tls_container_ref": default, "sni_container_refs": [sni]}
    listener = api.make("listener", loadbalancer_id=lb, protocol="TLS", protocol_port=443, **fields)
    for one in (default, sni):
        assert api("DELETE", f"/certificates/{one}").code == "ELB.8907"
    assert api("PUT", f"/certificates/{sni}", {"certificate": {"domain": ""}}).code == "ELB.8907"
    assert api("DELETE", f"/listeners/{listener['id']}").status == 204
    assert api("DELETE", f"/certificates/{sni}").status == 204


def test_listeners_of_one_pool_agree_on_the_proxy_protocol(api: Api, lb: str) -> None:
    pool = api.make("pool", loadbalancer_id=lb, protocol="TCP", lb_algorithm="ROUND_ROBIN")["id"]
    base = {"loadbalancer_id": lb, "protocol": "TCP", "default_pool_id": pool}
    first = api.make("listener", **base | {"protocol_port": 1000, "proxy_protocol_enable": True})
    refused = api("POST", "/listeners", {"listener": base | {"protocol_port": 1001}})
    assert (refused.status, first["id"] in refused.sentence) == (409, True)
    api.make("listener", **base | {"protocol_port": 1001, "proxy_protocol_enable": True})


def test_immutable_fields_cannot_change(api: Api, lb: str) -> None:
    made = api.make("listener", loadbalancer_id=lb, protocol="HTTP", protocol_port=80, enhance_l7policy_enable=True)
    path = f"/listeners/{made['id']}"
    for change in ({"protocol": "HTTPS"}, {"protocol_port": 81}, {"enhance_l7policy_enable": False}):
        assert api("PUT", path, {"listener": change}).code == "ELB.8902"
    same = {"protocol": "HTTP", "protocol_port": 80}
    assert api("PUT", path, {"listener": same}).status == 200


def test_a_listener_with_policies_or_members_cannot_be_deleted(api: Api, lb: str) -> None:
    made = api.make("listener", loadbalancer_id=lb, protocol="HTTP", protocol_port=80)
    pool = api.make("pool", listener_id=made["id"], protocol="HTTP", lb_algorithm="ROUND_ROBIN")
    assert api.show("listener", made["id"])["default_pool_id"] == pool["id"]
    member = api.make("member", f"/pools/{pool['id']}/members", address="127.0.0.1", protocol_port=1)
    path = f"/listeners/{made['id']}"
    assert api("DELETE", path).status == 409
    api("DELETE", f"/pools/{pool['id']}/members/{member['id']}")
    policy = api.make("l7policy", listener_id=made["id"], action="REDIRECT_TO_POOL", redirect_pool_id=pool["id"])
    assert api("DELETE", path).status == 409
    api("DELETE", f"/l7policies/{policy['id']}")
    assert api("DELETE", path).status == 204


def past_names(elb: Elb, listener: str) -> tuple[str, ...]:
    with stored(elb.settings) as (store, _):
        return store.publication.state.listeners[listener].past_names


def test_a_routed_name_that_loses_its_certificate_is_remembered(elb: Elb, api: Api, lb: str) -> None:
    default = certificate(api, "a.example")
    sni = certificate(api, "b.example", "b.example,c.example")
    other = certificate(api, "d.example", "d.example")
    made = api.make(
        "listener",
        loadbalancer_id=lb,
        protocol="HTTPS",
        protocol_port=443,
        default_tls_container_ref=default,
        sni_container_refs=[sni, other],
    )
    pool = api.make("pool", loadbalancer_id=lb, protocol="HTTP", lb_algorithm="ROUND_ROBIN")
    policies = [
        api.make(
            "l7policy",
            listener_id=made["id"],
            action="REDIRECT_TO_POOL",
            redirect_pool_id=pool["id"],
            rules=[{"type": "HOST_NAME", "compare_type": "EQUAL_TO", "value": host}],
        )
        for host in ("b.example", "d.example")
    ]
    path = f"/listeners/{made['id']}"
    api("PUT", path, {"listener": {"sni_container_refs": [sni]}})
    assert past_names(elb, made["id"]) == ("d.example",)
    api("PUT", f"/certificates/{sni}", {"certificate": {"domain": "c.example"}})
    assert past_names(elb, made["id"]) == ("b.example", "d.example")
    api("DELETE", f"/l7policies/{policies[1]['id']}")
    assert past_names(elb, made["id"]) == ("b.example",), "no rule mentions the other any more"
    api("PUT", f"/certificates/{sni}", {"certificate": {"domain": "b.example"}})
    assert past_names(elb, made["id"]) == (), "it is bound again"
