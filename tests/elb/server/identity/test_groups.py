"""IP groups and custom security policies, and listeners that use them."""

from __future__ import annotations

from typing import Any

import pytest

from certferry.settings import ElbLimits
from tests.elb.support.server import Api, Elb, serving, settings_in, stored
from tests.support.certs import authority


@pytest.fixture
def listener(api: Api) -> dict[str, Any]:
    return api.make("listener", loadbalancer_id=api.make("loadbalancer")["id"], protocol="HTTP", protocol_port=80)


def put(api: Api, kind: str, identifier: str, **fields: Any) -> Any:
    plural = {"security_policy": "security-policies"}.get(kind, kind + "s")
    return api("PUT", f"/{plural}/{identifier}", {kind: fields})


def policy(api: Api, **fields: Any) -> dict[str, Any]:
    chosen = {"protocols": ["TLSv1.2"], "ciphers": ["ECDHE-RSA-AES128-GCM-SHA256"]} | fields
    return api.make("security_policy", "/security-policies", **chosen)


def https(api: Api, **fields: Any) -> dict[str, Any]:
    pair = authority().issue("a.example")
    certificate = api.make("certificate", certificate=pair.certificate, private_key=pair.key)
    return api.make(
        "listener",
        loadbalancer_id=api.make("loadbalancer")["id"],
        protocol="HTTPS",
        protocol_port=443,
        default_tls_container_ref=certificate["id"],
        **fields,
    )


def test_an_ip_group_is_created_updated_and_deleted(api: Api) -> None:
    made = api.make("ipgroup", name="g", ip_list=[{"ip": "10.0.0.0/8", "description": "inside"}])
    assert made["ip_list"] == [{"ip": "10.0.0.0/8", "description": "inside"}]
    assert made["listeners"] == []
    path = f"/ipgroups/{made['id']}"
    assert put(api, "ipgroup", made["id"], name="h").body["ipgroup"]["ip_list"] == made["ip_list"]
    replaced = put(api, "ipgroup", made["id"], ip_list=[{"ip": "2001:db8::1"}]).body["ipgroup"]
    assert replaced["ip_list"] == [{"ip": "2001:db8::1", "description": ""}]

    entries = [{"ip": "10.0.0.1-10.0.0.9"}, {"ip": "2001:db8::1", "description": "renamed"}]
    reply = api("POST", f"{path}/iplist/create-or-update", {"ipgroup": {"ip_list": entries}})
    assert reply.status == 200
    assert reply.body["ipgroup"]["ip_list"] == [
        {"ip": "2001:db8::1", "description": "renamed"},
        {"ip": "10.0.0.1-10.0.0.9", "description": ""},
    ]
    gone = {"ipgroup": {"ip_list": [{"ip": "2001:db8::1"}, {"ip": "192.0.2.1"}]}}
    reply = api("POST", f"{path}/iplist/batch-delete", gone)
    assert (reply.status, len(reply.body["ipgroup"]["ip_list"])) == (200, 1)
    found = api("GET", "/ipgroups", query="ip_list=10.0.0.1-10.0.0.9").body["ipgroups"]
    assert [one["id"] for one in found] == [made["id"]]
    assert api("DELETE", path).status == 204
    assert api("GET", path).code == "ELB.8904"


@pytest.mark.parametrize("ip", ["", "10.0.0.300", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "10.0.0.0/33", "x-y"])
def test_an_entry_is_an_address_a_network_or_a_range(api: Api, ip: str) -> None:
    reply = api("POST", "/ipgroups", {"ipgroup": {"ip_list": [{"ip": ip}]}})
    assert (reply.status, reply.code) == (400, "ELB.8902")


def test_a_listener_protects_the_ip_groups_it_names(api: Api, listener: dict[str, Any]) -> None:
    groups = [api.make("ipgroup", ip_list=[])["id"] for _ in range(2)]
    binding = {"ipgroup_id": ",".join(groups), "type": "black"}
    reply = put(api, "listener", listener["id"], ipgroup=binding)
    assert reply.body["listener"]["ipgroup"] == {**binding, "enable_ipgroup": True}
    assert api.show("ipgroup", groups[1])["listeners"] == [{"id": listener["id"]}]
    related = api("GET", f"/ipgroups/{groups[0]}/related-listeners").body["listeners"]
    assert related == [{"id": listener["id"]}]
    refused = api("DELETE", f"/ipgroups/{groups[1]}")
    assert (refused.status, refused.code) == (409, "ELB.8907")
    assert listener["id"] in refused.sentence

    off = put(api, "listener", listener["id"], ipgroup={"enable_ipgroup": False}).body["listener"]
    assert off["ipgroup"] == {**binding, "enable_ipgroup": False}, "what is not given stays"
    unknown = put(api, "listener", listener["id"], ipgroup={"ipgroup_id": "nobody"})
    assert (unknown.status, unknown.code) == (404, "ELB.8904")
    assert put(api, "listener", listener["id"], ipgroup=None).body["listener"]["ipgroup"] is None
    assert put(api, "listener", listener["id"], ipgroup={"type": "white"}).status == 400, "of which group?"
    assert api("DELETE", f"/ipgroups/{groups[0]}").status == 204


def test_the_limits_of_groups_are_settings(tmp_path: Any) -> None:
    limits = ElbLimits(ipgroup=2, ipgroup_max_length=1, ipgroup_bindings=1, ipgroups_per_listener=1)
    with serving(settings_in(tmp_path, limits=limits)) as elb:
        api = elb.admin
        first, second = (api.make("ipgroup", ip_list=[])["id"] for _ in range(2))
        lb = api.make("loadbalancer")["id"]

        def listener(port: int, groups: str) -> Any:
            fields = {"loadbalancer_id": lb, "protocol": "HTTP", "protocol_port": port}
            return api("POST", "/listeners", {"listener": {**fields, "ipgroup": {"ipgroup_id": groups}}})

        made = listener(80, first)
        assert made.status == 201
        again = put(api, "listener", made.body["listener"]["id"], ipgroup={"type": "black"})
        assert again.status == 200, "a listener does not stand in its own way"
        refusals = [
            api("POST", "/ipgroups", {"ipgroup": {"ip_list": []}}),
            put(api, "ipgroup", second, ip_list=[{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]),
            listener(81, first),
            listener(82, f"{first},{second}"),
        ]
        assert [(one.status, one.code) for one in refusals] == [(409, "ELB.8905")] * 4


def test_a_security_policy_is_created_updated_and_deleted(api: Api) -> None:
    made = policy(api, name="p", ciphers=["AES128-SHA", "AES128-SHA"])
    assert made["ciphers"] == ["AES128-SHA"]
    modern = {"protocols": ["TLSv1.2", "TLSv1.3"], "ciphers": ["TLS_AES_128_GCM_SHA256", "AES128-SHA"]}
    changed = put(api, "security_policy", made["id"], **modern).body["security_policy"]
    assert {field: changed[field] for field in ("name", *modern)} == {"name": "p", **modern}
    found = api("GET", "/security-policies", query="protocols=TLSv1.3&name=p").body["security_policies"]
    assert [one["id"] for one in found] == [made["id"]]

    listener = https(api, security_policy_id=made["id"])
    assert listener["security_policy_id"] == made["id"]
    path = f"/security-policies/{made['id']}"
    assert api("GET", path).body["security_policy"]["listeners"] == [{"id": listener["id"]}]
    refused = api("DELETE", path)
    assert (refused.status, refused.code) == (409, "ELB.8907")
    unknown = put(api, "listener", listener["id"], security_policy_id="nobody")
    assert (unknown.status, unknown.code) == (404, "ELB.8904")
    assert put(api, "listener", listener["id"], security_policy_id=None).status == 200
    assert api("DELETE", path).status == 204


@pytest.mark.parametrize(
    "fields",
    [
        {"protocols": []},
        {"ciphers": []},
        {"protocols": ["SSLv3"]},
        {"ciphers": ["RC4-SHA"]},
        {"protocols": ["TLSv1.3"]},
        {"ciphers": ["TLS_AES_128_GCM_SHA256"]},
        {"protocols": None},
    ],
)
def test_versions_and_suites_must_be_compatible(api: Api, fields: dict[str, Any]) -> None:
    chosen = {"protocols": ["TLSv1.2"], "ciphers": ["AES128-SHA"]} | fields
    reply = api("POST", "/security-policies", {"security_policy": chosen})
    assert (reply.status, reply.code) == (400, "ELB.8902")


def test_the_data_plane_gets_ip_groups_and_security_policies(own: Elb) -> None:
    group = own.admin.make("ipgroup", ip_list=[{"ip": "10.0.0.1"}, {"ip": "10.1.0.0/16"}])["id"]
    chosen = policy(own.admin)["id"]
    with stored(own.settings) as (store, _):
        state = store.publication.state
    assert dict(state.ipgroups) == {group: ("10.0.0.1", "10.1.0.0/16")}
    assert state.security_policies[chosen].protocols == ("TLSv1.2",)
