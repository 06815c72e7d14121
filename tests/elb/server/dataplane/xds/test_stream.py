"""The order in which one stream sends, seen by a client that answers when the test says so."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from certferry.core.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SECRETS
from certferry.elb.server.dataplane.xds.server import AdsServer
from certferry.runtime.latest import Latest
from tests.elb.support.dataplane import DEADLINE, World, https, pool


class Client:
    """Speaks incremental xDS with a server in this process."""

    def __init__(self, server: AdsServer) -> None:
        self._requests: asyncio.Queue[Any] = asyncio.Queue()
        self._responses = server.DeltaAggregatedResources(self._stream(), None)
        self._waiting: asyncio.Task[Any] | None = None

    def ask(self, kind: str, *names: str) -> None:
        self._requests.put_nowait(DeltaDiscoveryRequest(type_url=kind, resource_names_subscribe=names))

    def answer(self, response: Any, error: str = "") -> None:
        request = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        if error:
            request.error_detail.message = error
        self._requests.put_nowait(request)

    async def next(self) -> Any:
        """The next response."""
        async with asyncio.timeout(DEADLINE):
            return await self._next()

    async def nothing(self) -> None:
        """Lets the server do all that it can do now, and sees that nothing comes."""
        waiting = self._next()
        for _ in range(50):
            await asyncio.sleep(0)
        assert not waiting.done(), waiting.result()

    async def close(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.gather(self._waiting, return_exceptions=True)
        await self._responses.aclose()  # type: ignore[attr-defined]

    def _next(self) -> asyncio.Task[Any]:
        if self._waiting is None or self._waiting.done():
            self._waiting = asyncio.ensure_future(anext(self._responses))
        return self._waiting

    async def _stream(self) -> AsyncIterator[Any]:
        while True:
            yield await self._requests.get()


@pytest.fixture
def world() -> World:
    names = {f"n{number}": {"domain": [f"n{number}.example.com"]} for number in range(4)}
    return World(**https(1443, names, *names), pools=pool(9000))


@pytest.fixture
def publications(world: World) -> Latest[Any]:
    return Latest(world.publication())


@pytest.fixture
async def client(publications: Latest[Any]) -> AsyncIterator[Client]:
    server = AdsServer(publications)
    with tempfile.TemporaryDirectory() as directory:
        await server.start(Path(directory) / "xds.sock")
        client = Client(server)
        yield client
        await client.close()
        await server.stop()


async def test_no_route_is_sent_before_the_endpoints_of_its_cluster_are_there(client: Client) -> None:
    for kind, names in ((ROUTES, ["web"]), (LISTENERS, []), (CLUSTERS, [])):
        client.ask(kind, *names)
    clusters = await client.next()
    assert (clusters.type_url, _names(clusters)) == (CLUSTERS, ["pool"])
    await client.nothing()
    client.answer(clusters)
    await client.nothing()
    client.ask(ENDPOINTS, "pool")
    endpoints = await client.next()
    assert endpoints.type_url == ENDPOINTS
    await client.nothing()
    client.answer(endpoints)
    assert [(await client.next()).type_url for _ in range(2)] == [LISTENERS, ROUTES]


async def test_a_rejected_cluster_delays_no_other_resource(client: Client) -> None:
    for kind in (LISTENERS, CLUSTERS):
        client.ask(kind)
    client.answer(await client.next(), "no")
    assert (await client.next()).type_url == LISTENERS


async def test_secrets_are_sent_without_waiting(client: Client) -> None:
    client.ask(CLUSTERS)
    await client.next()
    client.ask(SECRETS, "web/n1.example.com/0")
    assert _names(await client.next()) == ["web/n1.example.com/0"]


async def test_a_cluster_is_removed_after_the_route_to_it(
    client: Client, world: World, publications: Latest[Any]
) -> None:
    for kind, names in ((CLUSTERS, []), (ENDPOINTS, ["pool"]), (ROUTES, ["web"])):
        client.ask(kind, *names)
    for _ in range(3):
        client.answer(await client.next())
    world.change("listeners", "web", default_pool_id="")
    world.drop("pools", "pool")
    publications.set(world.publication())
    route = await client.next()
    assert route.type_url == ROUTES
    await client.nothing()
    client.answer(route)
    gone = await client.next()
    assert (gone.type_url, list(gone.removed_resources)) == (CLUSTERS, ["pool"])


async def test_after_a_nack_each_secret_is_sent_again_alone_with_other_bytes(client: Client) -> None:
    slots = [f"web/n{number}.example.com/0" for number in range(4)]
    client.ask(SECRETS, *slots)
    batch = await client.next()
    assert _names(batch) == slots
    client.answer(batch, "one of them is bad")
    for slot, before in zip(slots, batch.resources, strict=True):
        alone = await client.next()
        assert _names(alone) == [slot]
        assert alone.resources[0].version == before.version
        assert alone.resources[0].resource.value != before.resource.value
        client.answer(alone)
    await client.nothing()


async def test_a_newer_secret_does_not_wait_for_the_ack_of_the_older(
    client: Client, world: World, publications: Latest[Any]
) -> None:
    client.ask(SECRETS, "web/n0.example.com/0")
    await client.next()
    for _ in range(3):
        chain = world.renew("n0")
        publications.set(world.publication())
        assert [r.version for r in (await client.next()).resources] == [chain.digest]


async def test_a_removed_slot_is_sent_as_removed(client: Client, world: World, publications: Latest[Any]) -> None:
    client.ask(SECRETS, "web/n0.example.com/0", "web/n1.example.com/0")
    client.answer(await client.next())
    refs = tuple(r for r in world.state.listeners["web"].sni_container_refs or () if r != "n0")
    world.state = msgspec.structs.replace(
        world.state, listeners={"web": msgspec.structs.replace(world.state.listeners["web"], sni_container_refs=refs)}
    )
    publications.set(world.publication())
    gone = await client.next()
    assert list(gone.removed_resources) == ["web/n0.example.com/0"]
    assert not gone.resources


def _names(response: Any) -> list[str]:
    return [resource.name for resource in response.resources]
