"""What policies, rules and pools do with requests, through a real Envoy."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from multidict import CIMultiDict

from tests.elb.support.members import member
from tests.elb.support.site import At, Site, fixed, pool, rule, secure, site, to

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Site]:
    async with site() as made:
        yield made


async def test_rules_match_the_source_address(shared: Site) -> None:
    at = await shared.serve(
        policies={
            "else": fixed(201, rule("SOURCE_IP", "192.0.2.0/24", "::1")) | {"priority": 1},
            "here": fixed(202, rule("SOURCE_IP", "10.0.0.1", "127.0.0.0/8")) | {"priority": 2},
            "rest": fixed(203) | {"priority": 3},
        }
    )
    assert (await at.get()).status == 202
    # what a client says of itself is not believed
    assert (await at.get(headers={"X-Forwarded-For": "192.0.2.1"})).status == 202
    unusable = fixed(299, rule("SOURCE_IP", "nonsense")) | {"priority": 1}
    await at.change(policies={"else": unusable, "here": fixed(204, rule("SOURCE_IP", "10.0.0.0/8"))})
    assert (await at.get()).status == 203


async def test_rules_match_method_header_query_and_cookie(shared: Site) -> None:
    at = await shared.serve(
        policies={
            "method": fixed(201, rule("METHOD", "PUT", "DELETE")) | {"priority": 1},
            "header": fixed(202, rule("HEADER", "b*a", "exact", key="X-Kind")) | {"priority": 2},
            "query": fixed(203, rule("QUERY_STRING", "1", key="v")) | {"priority": 3},
            "cookie": fixed(205, rule("COOKIE", "new", key="site")) | {"priority": 4},
            "both": fixed(206, rule("HEADER", "y", key="x"), rule("PATH", "/p", compare="STARTS_WITH"))
            | {"priority": 5},
            "rest": fixed(299) | {"priority": 6},
        }
    )
    asked: list[tuple[dict[str, Any], int]] = [
        ({"method": "PUT"}, 201),
        ({"headers": {"X-Kind": "banana"}}, 202),
        ({"headers": {"X-Kind": "exact"}}, 202),
        ({"headers": {"X-Kind": "banal"}}, 299),
        ({"path": "/?v=1"}, 203),
        ({"path": "/?v=2"}, 299),
        ({"headers": {"Cookie": "a=b; site=new; c=d"}}, 205),
        ({"headers": {"Cookie": "a=b; othersite=new"}}, 299),
        ({"headers": {"x": "y"}, "path": "/p/q"}, 206),
        ({"headers": {"x": "y"}, "path": "/q"}, 299),
    ]
    assert [(kwargs, (await at.get(**kwargs)).status) for kwargs, _ in asked] == asked


async def test_with_advanced_forwarding_the_smaller_number_wins(shared: Site) -> None:
    def path(value: str, compare: str) -> dict[str, Any]:
        return rule("PATH", value, compare=compare)

    at = await shared.serve(
        policies={
            "exact": fixed(201, path("/a/b", "EQUAL_TO")) | {"priority": 3},
            "prefix": fixed(202, path("/a", "STARTS_WITH")) | {"priority": 2},
            "regex": fixed(203, path(r"^/a/b\d$", "REGEX")) | {"priority": 1},
        }
    )
    assert [(await at.get(p)).status for p in ("/a/b", "/a/b7", "/a/c", "/b")] == [202, 203, 202, 404]
    await at.change(policies={"exact": fixed(201, path("/a/b", "EQUAL_TO")) | {"priority": 1, "id": "x"}})
    await at.change(policies={"regex": fixed(203, path(r"^/a/b\d$", "REGEX")) | {"priority": 4}})
    assert [(await at.get(p)).status for p in ("/a/b", "/a/b7")] == [201, 202]


async def test_a_fixed_response_has_its_status_type_and_body(shared: Site) -> None:
    body = '{"closed": "100%"}'
    at = await shared.serve(
        policies={"f": fixed(503, content_type="application/json", message_body=body) | {"priority": 1}}
    )
    reply = await at.get()
    assert (reply.status, reply.text) == (503, body)
    assert reply.headers["Content-Type"] == "application/json"


HERE, THERE = "http://a.example.com:{port}", "https://b.example.com"
REDIRECTS: list[tuple[dict[str, str], str, str]] = [
    ({"host": "b.example.com", "protocol": "HTTPS", "port": "443"}, "/p?q=1", THERE + "/p?q=1"),
    ({"host": "b.example.com", "protocol": "HTTPS", "port": "443"}, "/", THERE + "/"),
    ({"path": "/new${path}"}, "/p/q?x=1&y=2", HERE + "/new/p/q?x=1&y=2"),
    ({"path": "/new", "query": ""}, "/p?q=1", HERE + "/new"),
    ({"path": "/n", "query": "from=${host}&${query}"}, "/p?q=1", HERE + "/n?from=a.example.com&q=1"),
    ({"host": "www.${host}", "port": "8080"}, "/p?q=1", "http://www.a.example.com:8080/p?q=1"),
    ({"protocol": "HTTPS", "port": "443"}, "/%20?a=%25", "https://a.example.com/%20?a=%25"),
    (
        {"host": "log.example.com", "port": "80", "path": "/${protocol}/${host}/${port}${path}"},
        "/p",
        "http://log.example.com/http/a.example.com/{port}/p",
    ),
    ({"path": "/100%", "query": "${query}"}, "/?", HERE + "/100%"),
]


@pytest.mark.parametrize(("config", "asked", "where"), REDIRECTS)
async def test_a_redirect_to_a_url_fills_its_placeholders(
    shared: Site, config: dict[str, str], asked: str, where: str
) -> None:
    policy = {"action": "REDIRECT_TO_URL", "redirect_url_config": {"status_code": "307"} | config}
    at = await shared.serve(policies={"r": policy | {"priority": 1}})
    where = where.replace("{port}", str(at.port))
    for authority in (f"a.example.com:{at.port}", "a.example.com"):
        reply = await at.get(asked, authority)
        assert (reply.status, reply.headers["Location"]) == (307, where)


async def test_pools_get_requests_by_weight(shared: Site) -> None:
    async with member("a") as a, member("b") as b, member("c") as c:
        pools = pool(a.port, name="wa") | pool(b.port, name="wb") | pool(c.port, name="wc")
        shares = [{"pool_id": n, "weight": w} for n, w in (("wa", 3), ("wb", 1), ("wc", 0))]
        policy = {"action": "REDIRECT_TO_POOL", "redirect_pools_config": shares, "priority": 1}
        at = await shared.serve(policies={"w": policy}, pools=pools)
        met = Counter([(await at.get()).member for _ in range(200)])
        assert met["c"] == 0
        assert 20 <= met["b"] <= 90, met  # 50 expected; eight standard deviations off is no chance
        assert met["a"] == 200 - met["b"]


async def test_members_get_requests_by_weight(shared: Site) -> None:
    async with member("a") as a, member("b") as b, member("off") as off:
        written = pool(a.port, b.port, off.port, name="mw")
        for one, weight in zip(written["mw"]["members"], (30, 10, 0), strict=True):
            one["weight"] = weight
        at = await shared.serve({"default_pool_id": "mw"}, pools=written)
        assert Counter([(await at.get()).member for _ in range(40)]) == {"a": 30, "b": 10}


@pytest.mark.parametrize("kind", ["HTTP_COOKIE", "APP_COOKIE"])
async def test_cookie_affinity_selects_the_same_member(shared: Site, kind: str) -> None:
    async with member("a") as a, member("b") as b, member("c") as c:
        name = f"sticky-{kind}"
        kept = {"type": kind, "persistence_timeout": 2} | (
            {"cookie_name": "JSESSIONID"} if kind == "APP_COOKIE" else {}
        )
        at = await shared.serve(
            {"default_pool_id": name}, pools=pool(a.port, b.port, c.port, name=name, session_persistence=kept)
        )
        first = await at.get()
        (cookie,) = first.cookies.items()
        assert ("Max-Age=120" in first.headers["Set-Cookie"]) == (kind == "HTTP_COOKIE")
        sent = {"Cookie": f"{cookie[0]}={cookie[1]}"}
        assert {(await at.get(headers=sent)).member for _ in range(12)} == {first.member}
        assert {(await at.get()).member for _ in range(12)} == {"a", "b", "c"}, "others are shared out"
        # one more member moves no client
        async with member("d") as d:
            wider = pool(a.port, b.port, c.port, d.port, name=name, session_persistence=kept)
            await at.change(pools=wider)
            assert {(await at.get(headers=sent)).member for _ in range(12)} == {first.member}


async def test_cookie_affinity_covers_the_choice_of_pool(shared: Site) -> None:
    async with member("a") as a, member("b") as b, member("c") as c, member("d") as d:
        kept = {"type": "HTTP_COOKIE"}
        pools = pool(a.port, b.port, name="sa", session_persistence=kept)
        pools |= pool(c.port, d.port, name="sb", session_persistence=kept)
        shares = [{"pool_id": n, "weight": 50} for n in ("sa", "sb")]
        policy = {"action": "REDIRECT_TO_POOL", "redirect_pools_config": shares, "priority": 1}
        at = await shared.serve(policies={"w": policy}, pools=pools)
        met = set()
        for _ in range(20):
            first = await at.get()
            sent = {"Cookie": "; ".join(f"{k}={v}" for k, v in first.cookies.items())}
            assert {(await at.get(headers=sent)).member for _ in range(5)} == {first.member}
            met.add(first.member)
        assert met & {"a", "b"}
        assert met & {"c", "d"}


async def test_source_ip_affinity_covers_the_choice_of_pool(shared: Site) -> None:
    async with member("a") as a, member("b") as b:
        pools = pool(a.port, name="aa", lb_algorithm="SOURCE_IP")
        pools |= pool(b.port, name="ab", lb_algorithm="SOURCE_IP")
        shares = [{"pool_id": n, "weight": 50} for n in ("aa", "ab")]
        policy = {"action": "REDIRECT_TO_POOL", "redirect_pools_config": shares, "priority": 1}
        at = await shared.serve(policies={"w": policy}, pools=pools)
        assert len({(await at.get()).member for _ in range(12)}) == 1
        assert {await _member_from(at, f"127.0.0.{n}") for n in range(2, 30)} == {"a", "b"}


@pytest.mark.parametrize("how", [{"lb_algorithm": "SOURCE_IP"}, {"session_persistence": {"type": "SOURCE_IP"}}])
async def test_source_ip_affinity_selects_the_same_member(shared: Site, how: dict[str, Any]) -> None:
    async with member("a") as a, member("b") as b, member("c") as c:
        name = f"ip-{next(iter(how))}"
        at = await shared.serve({"default_pool_id": name}, pools=pool(a.port, b.port, c.port, name=name, **how))
        assert len({(await at.get()).member for _ in range(12)}) == 1
        met = {await _member_from(at, f"127.0.0.{n}") for n in range(2, 30)}
        assert len(met) > 1, "other addresses may meet others"


async def test_headers_are_inserted_and_clients_cannot_forge_them(shared: Site) -> None:
    wanted = dict.fromkeys(
        (
            "X-Forwarded-ELB-ID",
            "X-Forwarded-ELB-IP",
            "X-Forwarded-Port",
            "X-Forwarded-For-Port",
            "X-Forwarded-Host",
            "X-Real-IP",
            "X-Forwarded-TLS-Protocol",
            "X-Forwarded-TLS-Cipher",
            "X-Forwarded-Clientcert-subjectdn-enable",
            "X-Forwarded-Tls-Sni-enable",
        ),
        True,
    )
    names: dict[str, Any] = {"X-Forwarded-TLS-Cipher-alias": "X-Suite", "X-Forwarded-Tls-Sni-alias": "X-Sni"}
    async with member() as only:
        at = await shared.serve(
            secure(default_pool_id="hdr", insert_headers=wanted | names), pools=pool(only.port, name="hdr")
        )
        forged = {"X-Real-IP": "6.6.6.6", "X-Forwarded-Clientcert-subjectdn": "CN=root", "X-Suite": "none"}
        told = CIMultiDict(json.loads((await at.get(host="h.example.com", headers=forged)).text)["headers"])
    assert told["X-Forwarded-ELB-ID"] == "lb"
    assert told["X-Forwarded-ELB-IP"] == told["X-Real-IP"] == "127.0.0.1"
    assert told["X-Forwarded-Port"] == str(at.port)
    assert told["X-Forwarded-For-Port"].isdigit()
    assert told["X-Forwarded-Host"] == "h.example.com"
    assert told["X-Forwarded-TLS-Protocol"] == "TLSv1.3"
    assert told["X-Suite"].startswith("TLS_")
    assert "X-Forwarded-Clientcert-subjectdn" not in told


async def test_an_access_list_allows_or_denies_clients(shared: Site) -> None:
    groups = {"me": ["127.0.0.1-127.0.0.9"], "else": ["192.0.2.0/24", "nonsense"], "nobody": []}
    async with member() as only:
        pools = pool(only.port, name="acl")
        cases = [
            ("me", "white", 200),
            ("else", "white", 403),
            ("nobody", "white", 403),
            ("me", "black", 403),
            ("else", "black", 200),
            ("nobody", "black", 200),
            ("else,me", "white", 200),
        ]
        for group, kind, status in cases:
            listener = {"default_pool_id": "acl", "ipgroup": {"ipgroup_id": group, "type": kind}}
            at = await shared.serve(listener, pools=pools, ipgroups=groups)
            assert (await at.get(headers={"X-Forwarded-For": "127.0.0.1"})).status == status, (group, kind)
        off = {"ipgroup_id": "me", "type": "black", "enable_ipgroup": False}
        at = await shared.serve({"default_pool_id": "acl", "ipgroup": off}, pools=pools, ipgroups=groups)
        assert (await at.get()).status == 200


async def test_responses_are_compressed_if_the_listener_and_the_client_want_it(shared: Site) -> None:
    async with member() as only:
        pools = pool(only.port, name="zip")
        for enabled, accepted, encoding in [(True, "gzip", "gzip"), (True, "identity", None), (False, "gzip", None)]:
            at = await shared.serve({"default_pool_id": "zip", "gzip_enable": enabled}, pools=pools)
            reply = await at.get(headers={"Accept-Encoding": accepted})
            assert (reply.status, reply.headers.get("Content-Encoding")) == (200, encoding)
            assert json.loads(reply.text)


async def test_a_policy_to_a_pool_wins_over_the_default_pool(shared: Site) -> None:
    async with member("a") as a, member("b") as b:
        pools = pool(a.port, name="pa") | pool(b.port, name="pb")
        at = await shared.serve(
            {"default_pool_id": "pa"},
            policies={"b": to("pb", rules=[rule("HOST_NAME", "b.example.com", "*.b.example.com")], priority=1)},
            pools=pools,
        )
        hosts = ("b.example.com", "x.b.example.com", "c.example.com")
        assert [(await at.get(host=host)).member for host in hosts] == ["b", "b", "a"]


async def _member_from(at: At, address: str) -> str:
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with aiohttp.ClientSession(connector=connector) as session, session.get(at.origin) as answer:
        return answer.headers["X-Member"]
