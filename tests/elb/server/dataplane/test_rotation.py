"""Certificates change under open connections: none is closed, none fails, none sees the old one again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from certferry.core.model.elb import Certificate
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
    until_true,
)
from tests.elb.support.long_connections import Crowd, KeepAlive, held

HOST = "shop.example.com"
CERTIFICATES = {"shop": {"domain": [HOST]}, "spare": {"domain": [HOST]}, "other": {"domain": ["o.example.com"]}}
RULE = {"type": "HOST_NAME", "value": HOST}
POLICIES = {"shop": {"listener_id": "web", "action": "REDIRECT_TO_POOL", "redirect_pool_id": "pool", "rules": [RULE]}}


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    port = free_port()
    async with backend() as member:
        written = https(port, CERTIFICATES, "shop", "other") | {"pools": pool(member), "policies": POLICIES}
        async with running(World(**written)) as plane:
            await until_true(lambda: _answers(port))
            yield plane


@pytest.mark.parametrize("name", ["shop", "main"])
async def test_fifty_rotations_close_no_connection(plane: Plane, name: str) -> None:
    port = _port(plane)
    host = HOST if name == "shop" else "main.example.com"
    expected = [plane.world.fingerprint(name)]
    async with held(port, host) as connections, Crowd(port, host) as crowd:
        await crowd.sees(expected[0])
        for _ in range(50):
            expected.append(plane.world.renew(name).fingerprint)
            plane.publish()
            await crowd.sees(expected[-1])
            for connection in connections:
                await connection.use()
        assert crowd.failures == []
        # in order: no client saw an old one after a newer one
        assert crowd.seen == expected


async def test_choosing_another_certificate_closes_no_connection(plane: Plane) -> None:
    port = _port(plane)
    async with held(port, HOST) as connections, Crowd(port, HOST) as crowd:
        for turn in range(10):
            chosen = ("spare", "shop")[turn % 2]
            plane.world.change("listeners", "web", sni_container_refs=(chosen, "other"))
            plane.publish()
            await crowd.sees(plane.world.fingerprint(chosen))
        await _drained(plane)
        for connection in connections:
            await connection.use()
        assert crowd.failures == []


async def test_names_changed_by_a_renewal_close_no_other_connection(plane: Plane) -> None:
    port = _port(plane)
    async with held(port, HOST) as connections:
        plane.world.renew("shop", domain=(HOST, "new.example.com"))
        plane.publish()
        await until_true(lambda: _shown(plane, "new.example.com", "shop"))
        assert await handshake(port, HOST) == plane.world.fingerprint("shop")
        plane.world.renew("shop", domain=(HOST,))
        plane.publish()
        await until_true(lambda: _shown(plane, "new.example.com", "main"))
        await _drained(plane)
        for connection in connections:
            await connection.use()


async def test_a_name_is_added_while_others_are_in_use(plane: Plane) -> None:
    port = _port(plane)
    async with held(port, HOST) as connections, Crowd(port, HOST) as crowd:
        plane.world.add("certificates", "late", Certificate(id="late", chain=None))
        plane.world.renew("late", domain=("late.example.com",))
        plane.world.change("listeners", "web", sni_container_refs=("shop", "other", "late"))
        plane.publish()
        await until_true(lambda: _shown(plane, "late.example.com", "late"))
        await _drained(plane)
        for connection in connections:
            await connection.use()
        assert crowd.failures == []


async def test_a_host_that_is_still_routed_keeps_its_connections_without_its_certificate(plane: Plane) -> None:
    port = _port(plane)
    async with held(port, HOST) as connections, Crowd(port, HOST) as crowd:
        unrouted = await KeepAlive.open(port, "o.example.com")
        await unrouted.use()
        plane.world.change("listeners", "web", sni_container_refs=(), past_names=("o.example.com", HOST))
        plane.publish()
        await crowd.sees(plane.world.fingerprint("main"))
        # the other one, of which no rule speaks, is drained: then draining is over
        await until_true(lambda: _ended(unrouted))
        await unrouted.close()
        for connection in connections:
            await connection.use()
        assert crowd.failures == []


async def _drained(plane: Plane) -> None:
    """Waits until what Envoy drains is drained, in case there is something."""

    async def none() -> bool:
        counters = await plane.counters("listener_manager.total_filter_chains_draining")
        return counters["listener_manager.total_filter_chains_draining"] == 0

    await until_true(none)


def _port(plane: Plane) -> int:
    return plane.world.state.listeners["web"].protocol_port


async def _answers(port: int) -> bool:
    return (await get(port, host=HOST))[0] == 200


async def _shown(plane: Plane, name: str, certificate: str) -> bool:
    return await handshake(_port(plane), name) == plane.world.fingerprint(certificate)


async def _ended(connection: KeepAlive) -> bool:
    return connection.reader.at_eof()
