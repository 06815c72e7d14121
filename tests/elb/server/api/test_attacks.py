"""What users of each role try: ids of other projects, odd values, and the same deletion many times at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from certferry.elb.server.identity.accounts import Account
from tests.elb.support.server import Api, Elb, send, stored
from tests.support.certs import authority


@pytest.fixture
def stranger(elb: Elb) -> Api:
    """An admin of another project."""
    with stored(elb.settings) as (_, identity):
        project = identity.ensure_project("elsewhere")
        user = identity.ensure_user("stranger", role="admin", project=project)
        keys = identity.ensure_access_key(user)
    account = Account(username="stranger", password="", access_key=keys.access_key, secret_key=keys.secret_key)
    return Api(elb.origin, project.id, account)


def objects(api: Api) -> dict[str, str]:
    """Create one object of each kind; return their paths by kind."""
    pair = authority().issue("a.example")
    lb = api.make("loadbalancer")["id"]
    certificate = api.make("certificate", certificate=pair.certificate, private_key=pair.key)["id"]
    listener = api.make(
        "listener", loadbalancer_id=lb, protocol="HTTPS", protocol_port=443, default_tls_container_ref=certificate
    )["id"]
    pool = api.make("pool", loadbalancer_id=lb, protocol="HTTP", lb_algorithm="ROUND_ROBIN")["id"]
    member = api.make("member", f"/pools/{pool}/members", address="127.0.0.1", protocol_port=1)["id"]
    monitor = api.make("healthmonitor", pool_id=pool, type="TCP", delay=5, timeout=3, max_retries=3)["id"]
    policy = api.make("l7policy", listener_id=listener, action="REDIRECT_TO_POOL", redirect_pool_id=pool)["id"]
    rule = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/"}
    suites = {"protocols": ["TLSv1.2"], "ciphers": ["AES128-SHA"]}
    return {
        "loadbalancer": f"/loadbalancers/{lb}",
        "certificate": f"/certificates/{certificate}",
        "listener": f"/listeners/{listener}",
        "pool": f"/pools/{pool}",
        "member": f"/pools/{pool}/members/{member}",
        "healthmonitor": f"/healthmonitors/{monitor}",
        "l7policy": f"/l7policies/{policy}",
        "rule": f"/l7policies/{policy}/rules/" + api.make("rule", f"/l7policies/{policy}/rules", **rule)["id"],
        "ipgroup": f"/ipgroups/{api.make('ipgroup', ip_list=[])['id']}",
        "security_policy": "/security-policies/" + api.make("security_policy", "/security-policies", **suites)["id"],
    }


def test_ids_and_markers_of_other_projects_are_unknown(elb: Elb, api: Api, stranger: Api) -> None:
    theirs = objects(api)
    for kind, path in theirs.items():
        identifier = path.rpartition("/")[2]
        collection = path.removesuffix(f"/{identifier}")
        for method, body in (("GET", None), ("PUT", {kind: {"name": "x"}}), ("DELETE", None)):
            assert stranger(method, path, body).status == 404, (method, path)
        for query in (f"limit=1&marker={identifier}", f"id={identifier}"):
            reply = stranger("GET", collection, query=query)
            assert reply.status in (400, 404) or not any(v for v in reply.body.values() if isinstance(v, list)), query
    ids = {kind: path.rpartition("/")[2] for kind, path in theirs.items()}
    mine = stranger.make("loadbalancer")["id"]
    listener: dict[str, Any] = {"loadbalancer_id": mine, "protocol": "HTTPS", "protocol_port": 443}
    for plural, kind, fields in (
        ("listeners", "listener", listener | {"loadbalancer_id": ids["loadbalancer"]}),
        ("listeners", "listener", listener | {"default_tls_container_ref": ids["certificate"]}),
        ("pools", "pool", {"loadbalancer_id": ids["loadbalancer"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}),
        ("pools", "pool", {"listener_id": ids["listener"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}),
        (
            "healthmonitors",
            "healthmonitor",
            {"pool_id": ids["pool"], "type": "TCP", "delay": 5, "timeout": 3, "max_retries": 3},
        ),
        (
            "l7policies",
            "l7policy",
            {"listener_id": ids["listener"], "action": "REDIRECT_TO_POOL", "redirect_pool_id": ids["pool"]},
        ),
    ):
        assert stranger("POST", f"/{plural}", {kind: fields}).status == 404, fields
    for path, batch in (
        ("/pools/batch-delete", {"pools": [ids["pool"]]}),
        ("/certificates/batch-delete", {"certificates": [ids["certificate"]]}),
    ):
        (result,) = next(value for value in stranger("POST", path, batch).body.values() if isinstance(value, list))
        assert result["ret_status"] == "not found"
    assert stranger("POST", "/listeners/batch-delete", {"listener_ids": [ids["listener"]]}).status == 404
    assert stranger("POST", "/loadbalancers/batch-delete", {"loadbalancer_ids": [ids["loadbalancer"]]}).status == 404
    assert all(api("GET", path).status == 200 for path in theirs.values())


@pytest.mark.parametrize(
    "value", ["HTTP\n", "HTTP\x00", "http", " HTTP", ["HTTP"], {"HTTP": 1}, 1, True, None, "ＨＴＴＰ"]
)
def test_a_choice_has_exactly_its_values(api: Api, value: Any) -> None:
    lb = api.make("loadbalancer")["id"]
    fields = {"loadbalancer_id": lb, "protocol_port": 80, "protocol": value}
    assert api("POST", "/listeners", {"listener": fields}).code == "ELB.8902"


def test_texts_keep_unicode_and_have_no_control_characters(api: Api) -> None:
    name = "名前 \u202e ümläut 🎉"
    assert api.make("loadbalancer", name=name)["name"] == name
    for bad in ("a\x00b", "\x1b[2J", "a\x7f"):
        assert api("POST", "/loadbalancers", {"loadbalancer": {"name": bad}}).code == "ELB.8902"
    pool = api.make("pool", type="ip", protocol="HTTP", lb_algorithm="ROUND_ROBIN")["id"]
    monitor = {"pool_id": pool, "type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 3, "url_path": "/a\r\nb: c"}
    assert api("POST", "/healthmonitors", {"healthmonitor": monitor}).code == "ELB.8902"


@pytest.mark.parametrize("number", ["1e400", "-1", "0", "65536", "9" * 400, "1.5", "NaN", "-0.0"])
def test_odd_numbers_are_rejected(api: Api, number: str) -> None:
    pool = api.make("pool", type="ip", protocol="HTTP", lb_algorithm="ROUND_ROBIN")["id"]
    body = b'{"member":{"address":"127.0.0.1","protocol_port":%s}}' % number.encode()
    reply = api("POST", f"/pools/{pool}/members", body)
    assert (reply.status, reply.code) == (400, "ELB.8902"), reply.body


@pytest.mark.parametrize(
    "query",
    [
        f"limit={10**30}",
        "limit=-1",
        "limit=%31%00",
        "marker=",
        "marker=%00",
        "page_reverse=maybe",
        "limit=1&marker=x%27%20OR%201=1",
    ],
)
def test_odd_pages_are_rejected(api: Api, query: str) -> None:
    assert api("GET", "/pools", query=query).code == "ELB.8902"


@pytest.mark.parametrize(
    "query", ["sort_key=id;drop&sort_dir=x", "name=%27%20OR%20%271%27=%271", "id=%00", "__class__=x", "a" * 9000]
)
def test_odd_filters_select_nothing_else(api: Api, query: str) -> None:
    assert api("GET", "/pools", query=query).status == 200


def test_the_same_deletion_many_times_at_once_is_done_once(api: Api) -> None:
    for _ in range(5):
        pool = api.make("pool", type="ip", protocol="HTTP", lb_algorithm="ROUND_ROBIN")["id"]
        with ThreadPoolExecutor(8) as many:
            replies = [reply.status for reply in many.map(api, ["DELETE"] * 8, [f"/pools/{pool}"] * 8)]
        assert sorted(replies) == [204] + [404] * 7


def test_an_unusual_request_line_is_no_internal_error(elb: Elb) -> None:
    for path in ("/v3/" + "a" * 5000 + "/elb/pools", "//v3", "/v3/../v3", "/v3/%2e%2e/elb/pools", "/%ff%fe"):
        assert send(elb.origin, "GET", path).status in (401, 404), path
