"""The requests of Terraform with the OTC provider, written from the provider's and its SDK's source.

The registry of providers cannot be reached from CI. Each step says what the provider sends, and compares what it
reads. A difference in a field that the provider does not compute is a difference in every later plan.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.elb.server.identity.test_auth import login
from tests.elb.support.server import Elb, Reply, send, serving, settings_in
from tests.support.certs import authority


@pytest.fixture
def elb(tmp_path: Path) -> Iterator[Elb]:
    with serving(settings_in(tmp_path, private_key_echo=True)) as running:
        yield running


class Provider:
    """A client as the provider makes it: endpoint of the region in the project's name, JSON, a token."""

    def __init__(self, elb: Elb, project: str) -> None:
        reply = login(elb, name=project)
        region = project.split("_")[0]
        elbv3 = next(entry for entry in reply.body["token"]["catalog"] if entry["type"] == "elbv3")
        url = next(one["url"] for one in elbv3["endpoints"] if (one["interface"], one["region"]) == ("public", region))
        self._origin, self._base = elb.origin, url.removeprefix(elb.origin).rstrip("/") + "/elb/"
        self._headers = {"X-Auth-Token": reply.headers["x-subject-token"]}

    def __call__(self, method: str, path: str, body: Any = None) -> Reply:
        data = b"" if body is None else json.dumps(body).encode()
        return send(self._origin, method, self._base + path, data, self._headers)


def differences(sent: Any, read: Any) -> list[str]:
    """Fields of `sent` that `read` shows differently; lists of a configuration are sets in the provider."""
    if isinstance(sent, dict):
        return [f"{key}.{one}" for key in sent for one in differences(sent[key], (read or {}).get(key, "absent"))]
    if isinstance(sent, list):
        return [] if sorted(map(str, sent)) == sorted(map(str, read)) else [f": {sent} → {read}"]
    if isinstance(sent, str) and isinstance(read, str):  # the provider ignores line feeds at the ends
        sent, read = sent.strip("\n"), read.strip("\n")
    return [] if sent == read else [": differs"]


def test_a_second_plan_is_empty_and_destroy_works_in_graph_order(elb: Elb) -> None:
    provider = Provider(elb, elb.credentials.project)
    pair = authority().issue("a.example")
    state: list[tuple[str, str, dict[str, Any]]] = []

    def create(kind: str, collection: str, fields: dict[str, Any], moved: tuple[str, ...] = ()) -> str:
        reply = provider("POST", collection, {kind: fields})
        assert reply.status == 201, reply.body
        identifier = str(reply.body[kind]["id"])
        state.append((kind, f"{collection}/{identifier}", {k: v for k, v in fields.items() if k not in moved}))
        return identifier

    certificate = create(
        "certificate",
        "certificates",
        {
            "name": "c",
            "description": "by terraform",
            "domain": "a.example",
            "private_key": pair.key.strip(),
            "certificate": pair.certificate.strip(),
            "type": "server",
        },
    )
    loadbalancer = create(
        "loadbalancer",
        "loadbalancers",
        {
            "name": "l",
            "description": "d",
            "vip_subnet_cidr_id": "5f8f3a43-5d0c-4a87-9a0f-1f0b7c1f6a11",
            "availability_zone_list": ["eu-de-02", "eu-de-01"],
            "tags": [{"key": "muh", "value": "kuh"}],
            "admin_state_up": True,
            "elb_virsubnet_ids": ["0f8f3a43-5d0c-4a87-9a0f-1f0b7c1f6a11"],
            "ip_target_enable": True,
        },
    )
    where, moved = {"loadbalancer_id": loadbalancer}, ("loadbalancer_id", "listener_id", "pool_id")
    plain = create(
        "listener",
        "listeners",
        {"admin_state_up": True, "protocol": "HTTP", "protocol_port": 80, "enable_member_retry": False, **where},
        moved,
    )
    secure = create(
        "listener",
        "listeners",
        {
            "admin_state_up": True,
            "default_tls_container_ref": certificate,
            "description": "d",
            "name": "n",
            "protocol": "HTTPS",
            "protocol_port": 443,
            "sni_container_refs": [certificate],
            "tags": [{"key": "muh", "value": "kuh"}],
            "tls_ciphers_policy": "tls-1-2-strict",
            "keepalive_timeout": 61,
            "client_timeout": 62,
            "member_timeout": 63,
            "insert_headers": {
                "X-Forwarded-ELB-IP": True,
                "X-Forwarded-Port": False,
                "X-Forwarded-For-Port": False,
                "X-Forwarded-Host": True,
            },
            "enhance_l7policy_enable": True,
            "http2_enable": True,
            "enable_member_retry": True,
            **where,
        },
        moved,
    )
    pool = create(
        "pool",
        "pools",
        {
            "lb_algorithm": "ROUND_ROBIN",
            "protocol": "HTTP",
            "listener_id": secure,
            "name": "p",
            "session_persistence": {"type": "HTTP_COOKIE"},
            "member_deletion_protection_enable": False,
        },
        moved,
    )
    away = create("pool", "pools", {"lb_algorithm": "LEAST_CONNECTIONS", "protocol": "HTTP", **where}, moved)
    create("member", f"pools/{pool}/members", {"address": "127.0.0.1", "protocol_port": 8080, "weight": 0})
    create(
        "healthmonitor",
        "healthmonitors",
        {
            "admin_state_up": True,
            "pool_id": pool,
            "type": "HTTP",
            "delay": 5,
            "timeout": 3,
            "max_retries": 3,
            "url_path": "/ready",
            "expected_codes": "200",
            "http_method": "GET",
        },
        moved,
    )
    create(
        "l7policy",
        "l7policies",
        {"action": "REDIRECT_TO_LISTENER", "listener_id": plain, "redirect_listener_id": secure, "position": 37},
    )
    create(
        "l7policy",
        "l7policies",
        {
            "action": "REDIRECT_TO_URL",
            "listener_id": secure,
            "position": 1,
            "priority": 10,
            "redirect_url": "https://www.example.com:443",
            "redirect_url_config": {"status_code": "301", "host": "www.example.com", "query": "name=my_name"},
            "rules": [{"type": "PATH", "compare_type": "EQUAL_TO", "value": "/old"}],
        },
        ("rules",),
    )
    policy = create(
        "l7policy", "l7policies", {"action": "REDIRECT_TO_POOL", "listener_id": secure, "redirect_pool_id": away}
    )
    create("rule", f"l7policies/{policy}/rules", {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/bbb"})

    for kind, path, sent in state:
        read = provider("GET", path).body[kind]
        assert differences(sent, read) == [], kind
    assert provider("GET", f"l7policies/{policy}").body["l7policy"]["position"] is None, "not computed by the provider"
    read = provider("GET", f"loadbalancers/{loadbalancer}").body["loadbalancer"]
    assert (read["vpc_id"], read["publicips"]) == (None, []), (
        "not computed by the provider, and asked of another service"
    )
    read = provider("GET", f"pools/{pool}").body["pool"]
    assert (read["listeners"][0]["id"], read["session_persistence"]["persistence_timeout"]) == (secure, 1440)

    for _, path, _ in reversed(state):  # what refers goes first: the pool of a listener before the listener
        assert provider("DELETE", path).status == 204, path
    for _, path, _ in state:
        assert provider("GET", path).status == 404


def test_a_listener_that_names_its_pool_is_destroyed_before_it(elb: Elb) -> None:
    provider = Provider(elb, elb.credentials.project)
    loadbalancer = provider("POST", "loadbalancers", {"loadbalancer": {"name": "l"}}).body["loadbalancer"]["id"]
    fields: dict[str, Any] = {"lb_algorithm": "ROUND_ROBIN", "protocol": "HTTP", "loadbalancer_id": loadbalancer}
    pool = provider("POST", "pools", {"pool": fields}).body["pool"]["id"]
    fields = {"protocol": "HTTP", "protocol_port": 80, "default_pool_id": pool, "loadbalancer_id": loadbalancer}
    listener = provider("POST", "listeners", {"listener": fields}).body["listener"]["id"]
    for path in (f"listeners/{listener}", f"pools/{pool}", f"loadbalancers/{loadbalancer}"):
        assert provider("DELETE", path).status == 204, path


def test_the_catalog_has_the_region_of_the_settings_and_of_the_projects_name(elb: Elb) -> None:
    catalog = login(elb).body["token"]["catalog"]
    for entry in catalog:
        regions = [endpoint["region"] for endpoint in entry["endpoints"]]
        assert regions == [elb.settings.region, elb.credentials.project.split("_")[0]]
        assert len({endpoint["url"] for endpoint in entry["endpoints"]}) == 1
        assert len({endpoint["id"] for endpoint in entry["endpoints"]}) == 2


def test_access_keys_find_project_domain_and_catalog(elb: Elb) -> None:
    api = elb.admin
    for path, query, plural in (
        ("/v3/projects", f"name={elb.credentials.project}", "projects"),
        ("/v3/auth/domains", "name=Default", "domains"),
        ("/v3/auth/catalog", "", "catalog"),
    ):
        reply = send(elb.origin, "GET", path, headers=api.signed("GET", path, query), query=query)
        assert (reply.status, len(reply.body[plural]) > 0) == (200, True), path
