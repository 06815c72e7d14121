"""Requests through a real Envoy: what the routes of a snapshot do."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from certferry.core.model.elb import IpGroupBinding
from certferry.core.x509.pem import parse_chain, parse_shown
from tests.elb.support.dataplane import (
    Plane,
    World,
    backend,
    free_port,
    get,
    handshake,
    https,
    pool,
    running,
    trusting,
    until_true,
)
from tests.support.certs import authority


@pytest.fixture
async def member() -> AsyncIterator[int]:
    async with backend() as port:
        yield port


async def test_a_request_reaches_the_member_with_the_usual_headers(member: int) -> None:
    port = free_port()
    async with running(World(**https(port, {}), pools=pool(member))) as plane:
        await until_true(lambda: _answers(port, 200))
        _, text = await get(port, "/path?q=1")
        told = yaml.safe_load(text)
        assert told["path"] == "/path"
        assert told["headers"]["X-Forwarded-Proto"] == "https"
        assert told["headers"]["X-Forwarded-For"] == "127.0.0.1"
        assert told["headers"]["Host"] == "main.example.com"
        plane.world.change("pools", "pool", members=())
        plane.publish()
        await until_true(lambda: _answers(port, 503))
        plane.world.change("listeners", "web", default_pool_id="")
        plane.world.drop("pools", "pool")
        plane.publish()
        await until_true(lambda: _answers(port, 404))
        await until_true(lambda: _no_cluster(plane))


async def test_a_silent_member_is_abandoned_after_the_member_timeout(member: int) -> None:
    port = free_port()
    async with running(World(**https(port, {}, member_timeout=1), pools=pool(member))):
        await until_true(lambda: _answers(port, 200))
        assert (await get(port, "/silent"))[0] == 504


async def test_a_changed_cluster_continues_to_serve(member: int) -> None:
    port = free_port()
    async with running(World(**https(port, {}), pools=pool(member))) as plane:
        await until_true(lambda: _answers(port, 200))
        before = await plane.counters("cluster_manager.cluster_modified")
        plane.world.change("pools", "pool", lb_algorithm="LEAST_CONNECTIONS")
        plane.publish()

        async def swapped() -> bool:
            assert await _answers(port, 200)
            now = await plane.counters("cluster_manager.(cluster_modified|warming_clusters)")
            return (
                now["cluster_manager.cluster_modified"] > before["cluster_manager.cluster_modified"]
                and now["cluster_manager.warming_clusters"] == 0
            )

        await asyncio.wait_for(until_true(swapped), 5)


async def test_a_new_route_to_a_new_pool_never_answers_503(member: int) -> None:
    port = free_port()
    async with running(World(**https(port, {}), pools=pool(member))) as plane:
        await until_true(lambda: _answers(port, 200))
        for turn in range(5):
            (made,) = World(pools={f"new{turn}": pool(member)["pool"]}).state.pools.values()
            plane.world.add("pools", made.id, made)
            plane.world.change("listeners", "web", default_pool_id=made.id)
            plane.publish()

            async def moved(name: str = made.id) -> bool:
                assert (await get(port))[0] == 200
                return bool(
                    (await plane.counters(f"cluster.{name}.upstream_rq_2xx")).get(f"cluster.{name}.upstream_rq_2xx")
                )

            await until_true(moved)


async def test_policies_match_host_and_path(member: int) -> None:
    port = free_port()
    policies = {
        "exact": _fixed("201", ("HOST_NAME", "EQUAL_TO", "a.example.com"), ("PATH", "EQUAL_TO", "/x")),
        "prefix": _fixed("202", ("HOST_NAME", "EQUAL_TO", "a.example.com"), ("PATH", "STARTS_WITH", "/x")),
        "expression": _fixed("203", ("HOST_NAME", "EQUAL_TO", "a.example.com"), ("PATH", "REGEX", r"\.php$")),
        "anywhere": _fixed("206", ("PATH", "EQUAL_TO", "/x")),
    }
    written = https(port, {}) | {"policies": policies, "pools": pool(member)}
    async with running(World(**written)):
        await until_true(lambda: _answers(port, 200))
        asked = {
            ("a.example.com", "/x"): 201,
            ("a.example.com:8443", "/x?q"): 201,
            ("A.example.com", "/x/y.php"): 202,
            ("a.example.com", "/y.php"): 203,
            ("a.example.com", "/y.php5"): 200,
            ("b.example.com", "/x"): 206,
            ("b.example.com", "/x/"): 200,
        }
        got = {(host, path): (await get(port, path, host))[0] for host, path in asked}
        assert got == asked


async def test_a_redirecting_listener_redirects_to_https() -> None:
    port, plain = free_port(), free_port()
    written = https(port, {})
    written["listeners"]["plain"] = {"loadbalancer_id": "lb", "protocol": "HTTP", "protocol_port": plain}
    written["policies"] = {
        "r": {"listener_id": "plain", "action": "REDIRECT_TO_LISTENER", "redirect_listener_id": "web"}
    }
    async with running(World(**written)), aiohttp.ClientSession() as session:

        async def redirected() -> bool:
            url = f"http://127.0.0.1:{plain}/p?q=1"
            async with session.get(url, headers={"Host": "a.example.com"}, allow_redirects=False) as answer:
                where = answer.headers.get("Location")
                return (answer.status, where) == (301, f"https://a.example.com:{port}/p?q=1")

        await until_true(redirected)


async def test_an_access_list_changes_without_closing_a_connection(member: int) -> None:
    port = free_port()
    written = https(port, {}) | {"pools": pool(member), "ipgroups": {"me": ["127.0.0.0/8"], "else": ["192.0.2.1"]}}
    async with running(World(**written)) as plane:
        await until_true(lambda: _answers(port, 200))
        for group, kind, status in (("else", "white", 403), ("me", "white", 200), ("me", "black", 403)):
            plane.world.change("listeners", "web", ipgroup=IpGroupBinding(ipgroup_id=group, type=kind))
            plane.publish()
            await until_true(lambda status=status: _answers(port, status))  # type: ignore[misc]
        counters = await plane.counters("listener_manager.listener_(modified|in_place_updated)")
        assert set(counters.values()) == {0}


async def test_a_name_with_two_certificates_serves_the_one_that_the_client_supports() -> None:
    port = free_port()
    pair = {"rsa": {"domain": ["p.example.com"], "key": "RSA-2048"}, "ec": {"domain": ["p.example.com"]}}
    async with running(World(**https(port, pair, "rsa", "ec"))) as plane:
        assert await handshake(port, "p.example.com") == plane.world.fingerprint("ec")
        old = trusting()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        old.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
        assert await _shown(port, "p.example.com", old) == plane.world.fingerprint("rsa")


async def test_clients_without_a_certificate_of_the_ca_are_rejected(member: int) -> None:
    port = free_port()
    written = https(port, {"ca": {"type": "client"}}, client_ca_tls_container_ref="ca") | {"pools": pool(member)}
    world = World(**written)
    ca = world.state.certificates["ca"]
    own = authority().certificate
    world.add("certificates", "ca", type(ca)(id="ca", type="client", chain=parse_chain(own)))
    async with running(world):
        allowed = trusting()
        pair = authority().issue("client.example.com")
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "client.pem"
            path.write_text(pair.certificate + pair.key)
            allowed.load_cert_chain(path)
        await until_true(lambda: _gets(port, allowed))
        assert not await _gets(port, trusting())


def _fixed(status: str, *rules: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "listener_id": "web",
        "action": "FIXED_RESPONSE",
        "fixed_response_config": {"status_code": status},
        "rules": [{"type": t, "compare_type": c, "value": v} for t, c, v in rules],
    }


async def _answers(port: int, status: int) -> bool:
    return (await get(port))[0] == status


async def _gets(port: int, context: ssl.SSLContext) -> bool:
    with contextlib.suppress(OSError, aiohttp.ClientError):
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.get(f"https://127.0.0.1:{port}/") as answer,
        ):
            return answer.status == 200
    return False


async def _shown(port: int, name: str, context: ssl.SSLContext) -> str:
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return parse_shown([der]).fingerprint


async def _no_cluster(plane: Plane) -> bool:
    return "pool::" not in await plane.envoy.admin.ask("/clusters")
