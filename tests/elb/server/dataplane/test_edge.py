"""Envoy's guide for edge proxies, each item by a request through a real Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import aiohttp
import h2.errors
import msgspec
import pytest
from aiohttp import web

from certferry.core.envoy import Options
from certferry.elb.server.dataplane.envoy.connection_limit import edge_options
from certferry.settings import EnvoyOptions
from tests.elb.support.dataplane import (
    DEADLINE,
    OPTIONS,
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
from tests.elb.support.long_connections import Http2

HOST = "main.example.com"


class Edge(NamedTuple):
    """A listener of a running plane with a backend that returns the request."""

    plane: Plane
    port: int

    async def ask(
        self, path: str = "/", headers: Mapping[str, str] | None = None, *, method: str = "GET", host: str = HOST
    ) -> tuple[int, dict[str, str], str]:
        """Send a request byte by byte as given; return status, headers and body of the answer."""
        _, writer = opened = await asyncio.open_connection("127.0.0.1", self.port, ssl=trusting(), server_hostname=HOST)
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        text = (await asyncio.wait_for(opened[0].read(), DEADLINE)).decode()
        writer.close()
        head, _, body = text.partition("\r\n\r\n")
        first, *rest = head.split("\r\n")
        return int(first.split()[1]), {k.lower(): v for k, _, v in (line.partition(": ") for line in rest)}, body

    async def seen(self, path: str = "/", headers: Mapping[str, str] | None = None, **kwargs: Any) -> Any:
        """Return the path and lower-case headers of the request as the backend got it."""
        status, _, body = await self.ask(path, headers, **kwargs)
        assert status == 200, (status, body)
        start, end = body.index("{"), body.rindex("}") + 1
        told = json.loads(body[start:end])
        return told | {"headers": {name.lower(): value for name, value in told["headers"].items()}}


@contextlib.asynccontextmanager
async def edge(options: EnvoyOptions = OPTIONS, **fields: Any) -> AsyncIterator[Edge]:
    port = free_port()
    async with backend() as member:
        world = World(
            **https(port, fields.pop("certificates", {}), *fields.pop("sni", ()), **fields), pools=pool(member)
        )
        async with running(world, edge_options(options), options) as plane:
            made = Edge(plane, port)
            await until_true(lambda: _routed(port))
            yield made


async def test_paths_reach_backends_in_one_form_only() -> None:
    async with edge() as site:
        for escaped in ("/public/..%2fsecret", "/public/..%2Fsecret", "/public/..%5csecret", "/public/%2e%2e%2fsecret"):
            status, headers, _ = await site.ask(escaped)
            assert (status, headers["location"]) == (307, "/secret"), escaped
        assert (await site.seen("/public/../a//b/./c"))["path"] == "/a/b/c"


@pytest.mark.parametrize(
    ("setting", "status", "path"), [("reject", 400, ""), ("unescape", 200, "/a/b"), ("keep", 200, "/a%2Fb")]
)
async def test_escaped_slashes_follow_the_setting(setting: Any, status: int, path: str) -> None:
    async with edge(msgspec.structs.replace(OPTIONS, escaped_slashes=setting, merge_slashes=False)) as site:
        assert (await site.ask("/a%2Fb"))[0] == status
        if path == "/a/b":
            assert (await site.seen("/a%2Fb"))["path"] == path
        assert (await site.seen("/a//b"))["path"] == "/a//b"


@pytest.mark.parametrize("method", ["TRACE", "TRACK"])
async def test_requests_for_an_echo_are_refused(method: str) -> None:
    async with edge() as site:
        assert (await site.ask(method=method))[0] in (400, 403)
        assert (await site.seen(method="PURGE"))["path"] == "/"


_CLAIMS = {
    "Forwarded": "for=203.0.113.9",
    "X-Real-IP": "203.0.113.9",
    "X-Forwarded-Host": "other.example.com",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Clientcert": "mine",
    "x-envoy-peer-metadata": "mine",
    "x-envoy-peer-metadata-id": "mine",
    "x-envoy-original-path": "/other",
    "x-envoy-internal": "true",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "X-Forwarded-Client-Cert": "mine",
}


async def test_headers_of_proxies_do_not_come_from_clients() -> None:
    async with edge() as site:
        got = (await site.seen("/", _CLAIMS | {"X-Own": "kept"}))["headers"]
        assert {name for name in _CLAIMS if name.lower() in got} == set()
        assert (got["x-own"], got["x-forwarded-proto"], got["x-forwarded-for"]) == ("kept", "https", "127.0.0.1")
        for name in ("x_forwarded_for", "X_Real_IP", "a_b"):
            assert (await site.ask("/", {name: "203.0.113.9"}))[0] == 400, name


async def test_headers_reach_backends_that_need_them() -> None:
    options = msgspec.structs.replace(
        OPTIONS, underscores="keep", trusted_client_headers=("forwarded", "X-Real-IP"), merge_slashes=True
    )
    async with edge(options) as site:
        got = (await site.seen("/", _CLAIMS | {"a_b": "c"}))["headers"]
        assert (got["a_b"], got["forwarded"], got["x-real-ip"]) == ("c", "for=203.0.113.9", "203.0.113.9")
        assert "x-forwarded-host" not in got
    async with edge(msgspec.structs.replace(OPTIONS, underscores="drop")) as site:
        assert "a_b" not in (await site.seen("/", {"a_b": "c"}))["headers"]


async def test_a_final_dot_of_a_name_makes_no_difference() -> None:
    certificates = {"one": {"domain": ["one.example.com"]}, "wild": {"domain": ["*.wild.example.com"]}}
    async with edge(certificates=certificates, sni=("one", "wild")) as site:
        for host in (f"{HOST}.", f"{HOST}.:443", f"{HOST.upper()}."):
            assert (await site.seen(host=host))["headers"]["host"].lower().partition(":")[0] == HOST
        for name, certificate in (("one.example.com", "one"), ("a.wild.example.com", "wild"), ("other.test", "main")):
            for asked in (name, f"{name}."):
                assert await handshake(site.port, asked) == site.plane.world.fingerprint(certificate), asked


async def test_a_wildcard_host_of_an_ingress_covers_one_label() -> None:
    async with edge(default_pool_id=None) as site:
        world = site.plane.world
        fixed = {"listener_id": "web", "action": "FIXED_RESPONSE", "fixed_response_config": {"status_code": "201"}}
        mine = {"description": '{"cluster_id":"c","ingress_id":"i"}', "fixed_response_config": {"status_code": "202"}}
        written = {
            "direct": fixed | {"rules": [{"type": "HOST_NAME", "value": "*.direct.test"}]},
            "ingress": fixed | mine | {"rules": [{"type": "HOST_NAME", "value": "*.x.test"}]},
            "deeper": fixed | {"rules": [{"type": "HOST_NAME", "value": "c.b.x.test"}]},
        }
        for name, policy in World(policies=written).state.policies.items():
            world.add("policies", name, policy)
        site.plane.publish()

        async def settled() -> bool:
            return (await site.ask(host="a.x.test"))[0] == 202

        await until_true(settled)
        for host, status in {
            "A.x.test.:8443": 202,
            "a.b.x.test": 404,
            "c.b.x.test": 201,
            "x.test": 404,
            "a.direct.test": 201,
            "a.b.direct.test": 201,
        }.items():
            assert (await site.ask(host=host))[0] == status, host


async def test_rejected_resources_do_not_keep_others_from_changing() -> None:
    """A pool and a route table that Envoy rejects, each beside good ones."""
    port, other = free_port(), free_port()
    async with backend() as member:
        written = https(port, {}) | {"pools": {n: pool(member)["pool"] for n in ("pool", "bad", "new", "newer")}}
        plain = {"loadbalancer_id": "lb", "protocol": "HTTP", "protocol_port": other, "default_pool_id": "new"}
        written["listeners"] |= {"plain": plain}
        written["pools"]["bad"] |= {"healthmonitor": {"id": "h", "type": "TCP", "delay": 0}}
        fixed = {"status_code": "200", "content_type": "%NO_SUCH_OPERATOR%"}
        written["policies"] = {
            "bad": {"listener_id": "web", "action": "FIXED_RESPONSE", "fixed_response_config": fixed, "rules": []}
        }
        async with running(World(**written)) as plane:
            await until_true(lambda: _plain(other, 200))
            await until_true(lambda: _refused(plane, {"bad", "web"}))
            assert {name for _, name in plane.ads.refusals()} == {"bad", "web"}
            plane.world.change("listeners", "plain", default_pool_id=None)
            plane.publish()
            await until_true(lambda: _plain(other, 404))
            plane.world.drop("policies", "bad")
            plane.world.change("pools", "bad", healthmonitor=None)
            plane.publish()
            await until_true(lambda: _serves(port))
            await until_true(lambda: _refused(plane, set()))


async def test_an_envoy_without_memory_answers_503() -> None:
    port = free_port()
    options = msgspec.structs.replace(OPTIONS, max_heap_bytes=1 << 20)
    async with backend() as member:
        world = World(**https(port, {}), pools=pool(member))
        async with running(world, edge_options(options), options):
            await until_true(lambda: _overloaded(port))


async def test_one_host_cannot_take_all_connections() -> None:
    certificates = {"one": {"domain": ["one.example.com"]}}
    options = msgspec.structs.replace(OPTIONS, max_connections_per_host=2)
    async with edge(options, certificates=certificates, sni=("one",)) as site:
        held = [await _opened(site.port, "one.example.com") for _ in range(2)]
        with contextlib.suppress(OSError):
            reader, _ = await _opened(site.port, "one.example.com")
            assert await asyncio.wait_for(reader.read(), DEADLINE) == b""
        assert (await site.seen())["path"] == "/"
        for _, writer in held:
            writer.close()


async def test_a_client_that_resets_its_streams_is_disconnected() -> None:
    async with edge() as site:
        client = await Http2.open(site.port, HOST)
        await client.use()
        streams = client.connection.remote_settings.max_concurrent_streams
        assert streams == 100
        client.writer.transport.set_write_buffer_limits(0)
        with contextlib.suppress(ConnectionError):
            for _ in range(1_000):
                stream = client.connection.get_next_available_stream_id()
                fields = {":method": "GET", ":scheme": "https", ":authority": HOST, ":path": "/silent"}
                client.connection.send_headers(stream, list(fields.items()), end_stream=True)
                client.connection.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
                client.writer.write(client.connection.data_to_send())
                await client.writer.drain()
        await until_true(lambda: _ends(client.reader))
        assert (await site.seen())["path"] == "/"


async def test_long_uploads_pass_small_buffers() -> None:
    port, size = free_port(), 3 << 20
    async with _receiver() as member, running(World(**https(port, {}), pools=pool(member)), edge_options(OPTIONS)):
        await until_true(lambda: _serves(port))

        async def slowly() -> AsyncIterator[bytes]:
            for _ in range(48):
                yield bytes(size // 48)
                await asyncio.sleep(0)

        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting())) as session,
            session.post(f"https://127.0.0.1:{port}/", headers={"Host": HOST}, data=slowly()) as answer,
        ):
            assert (answer.status, await answer.text()) == (200, str(size))


async def test_a_request_timeout_ends_uploads_that_take_longer() -> None:
    port = free_port()
    options = msgspec.structs.replace(OPTIONS, request_timeout=0.5)
    async with _receiver() as member, running(World(**https(port, {}), pools=pool(member)), edge_options(options)):
        await until_true(lambda: _serves(port))
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting(), server_hostname=HOST)
        writer.write(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\nhalf".encode())
        assert (await asyncio.wait_for(reader.readline(), DEADLINE)).split()[1] == b"408"
        writer.close()


def test_connections_of_pools_and_hosts_are_fitted_to_the_file_limit() -> None:
    made = edge_options(EnvoyOptions(max_connections=100))
    assert (made.max_connections, made.max_connections_per_host) == (100, 75)
    assert isinstance(made, Options)


@contextlib.asynccontextmanager
async def _receiver() -> AsyncIterator[int]:
    """A member that answers with the size of the body."""

    async def count(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", count)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _opened(port: int, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, ssl=trusting(), server_hostname=name)


async def _routed(port: int) -> bool:
    return (await get(port))[0] in (200, 404)


async def _serves(port: int) -> bool:
    return (await get(port))[0] == 200


async def _plain(port: int, status: int) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as answer:
        return answer.status == status


async def _refused(plane: Plane, names: set[str]) -> bool:
    return {name for _, name in plane.ads.refusals()} == names


async def _overloaded(port: int) -> bool:
    status, text = await get(port)
    return status == 503 and "overload" in text


async def _ends(reader: asyncio.StreamReader) -> bool:
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(65_536), DEADLINE) == b""
    return True
