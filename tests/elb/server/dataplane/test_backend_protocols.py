"""HTTP/2, gRPC, WebSocket, server-sent events, HTTPS to members, timeouts and health checks, through a real Envoy."""

from __future__ import annotations

import asyncio
import json
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
import pytest_asyncio

from certferry.core.model.elb import Certificate
from certferry.core.x509.pem import parse_chain
from tests.elb.support.dataplane import DEADLINE, free_port, trusting, until_true
from tests.elb.support.long_connections import Http2
from tests.elb.support.members import grpc_member, member
from tests.elb.support.site import At, Site, pool, secure, site
from tests.support.certs import authority

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Site]:
    async with site() as made:
        yield made


async def test_http2_is_offered_if_enabled(shared: Site) -> None:
    async with member() as only:
        on = await shared.serve(secure(default_pool_id="h2"), pools=pool(only.port, name="h2"))
        off = await shared.serve(secure(default_pool_id="h2", http2_enable=False))
        connection = await Http2.open(on.port, "main.example.com")
        for _ in range(3):
            await connection.use()
        await connection.close()
        assert [await _alpn(at) for at in (on, off)] == ["h2", "http/1.1"]


async def test_grpc_calls_and_streams_reach_a_grpc_pool(shared: Site) -> None:
    async with grpc_member() as port:
        at = await shared.serve(secure(default_pool_id="g"), pools=pool(port, name="g", protocol="GRPC"))
        pem = authority().certificate.encode()
        named = [("grpc.ssl_target_name_override", "main.example.com")]
        credentials = grpc.ssl_channel_credentials(pem)
        async with grpc.aio.secure_channel(f"127.0.0.1:{at.port}", credentials, options=named) as channel:
            assert await channel.unary_unary("/test.Echo/Unary")(b"x", timeout=DEADLINE) == b"echo x"
            many = channel.unary_stream("/test.Echo/Many")(b"n", timeout=DEADLINE)
            assert [reply async for reply in many] == [b"n0", b"n1", b"n2"]
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary("/test.Echo/Nothing")(b"", timeout=DEADLINE)
            assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED, "trailers come through"


async def test_websockets_are_proxied(shared: Site) -> None:
    async with member() as only:
        at = await shared.serve(secure(default_pool_id="ws"), pools=pool(only.port, name="ws"))
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting())) as session,
            session.ws_connect(f"{at.origin}/echo") as opened,
        ):
            for word in ("one", "two"):
                await opened.send_str(word)
                assert await opened.receive_str(timeout=DEADLINE) == f"a: {word}"


async def test_server_sent_events_are_not_buffered(shared: Site) -> None:
    async with member() as only:
        at = await shared.serve(secure(default_pool_id="sse"), pools=pool(only.port, name="sse"))
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting())) as session,
            session.get(f"{at.origin}/events") as stream,
        ):
            assert await asyncio.wait_for(stream.content.readuntil(b"\n\n"), DEADLINE) == b"data: first\n\n"
            only.release.set()
            assert await asyncio.wait_for(stream.content.read(), DEADLINE) == b"data: second\n\n"


async def test_an_https_pool_is_reached_over_tls_with_the_requested_name(shared: Site) -> None:
    async with member(tls=True) as only:
        at = await shared.serve({"default_pool_id": "tls"}, pools=pool(only.port, name="tls", protocol="HTTPS"))
        reply = await at.get(host="shop.example.com")
        assert (reply.status, reply.member, only.names[-1]) == (200, "a", "shop.example.com")


async def test_a_member_that_fails_its_check_gets_no_requests_until_it_passes(shared: Site) -> None:
    async with member("a") as a, member("b") as b:
        at = await shared.serve(
            {"default_pool_id": "hc"}, pools=pool(a.port, b.port, name="hc", healthmonitor=_check("HTTP"))
        )
        await until_true(lambda: _met(at, {"a", "b"}))
        b.healthy = False
        await until_true(lambda: _met(at, {"a"}))
        b.healthy = True
        await until_true(lambda: _met(at, {"a", "b"}))


@pytest.mark.parametrize(
    ("protocol", "check"), [("HTTP", "TCP"), ("HTTPS", "TCP"), ("HTTPS", "HTTPS"), ("HTTP", "HTTPS"), ("HTTPS", "HTTP")]
)
async def test_a_health_check_uses_its_own_protocol(shared: Site, protocol: str, check: str) -> None:
    """On a port of its own, where the check's protocol is not the pool's."""
    name = f"chk-{protocol}-{check}"
    async with member("used", tls=protocol == "HTTPS") as used, member("checked", tls=check == "HTTPS") as checked:
        monitor = _check(check, monitor_port=checked.port)
        gone = pool(used.port, name=name, protocol=protocol, healthmonitor=_check(check, monitor_port=free_port()))
        at = await shared.serve({"default_pool_id": name}, pools=gone)
        await until_true(lambda: _is(at, 503))
        await at.change(pools=pool(used.port, name=name, protocol=protocol, healthmonitor=monitor))
        await until_true(lambda: _is(at, 200))


async def test_a_grpc_pool_has_grpc_health_checks(shared: Site) -> None:
    """The member has no health service: a TCP check would let it pass."""
    async with grpc_member() as port:
        written = pool(port, name="gc", protocol="GRPC", healthmonitor=_check("GRPC"))
        at = await shared.serve(secure(default_pool_id="gc"), pools=written)
        await until_true(lambda: _is(at, 503))


async def test_silent_members_and_clients_time_out(shared: Site) -> None:
    async with member() as only:
        listener = {"default_pool_id": "to", "member_timeout": 1, "client_timeout": 1, "keepalive_timeout": 1}
        at = await shared.serve(listener, pools=pool(only.port, name="to"))
        started = time.monotonic()

        async def client() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Unfinished")
            try:
                return await asyncio.wait_for(reader.read(), DEADLINE)
            finally:
                writer.close()

        async def idle() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
            try:
                return await asyncio.wait_for(reader.read(), DEADLINE)
            finally:
                writer.close()

        silent, unfinished, closed = await asyncio.gather(at.get("/silent"), client(), idle())
        assert silent.status == 504
        assert unfinished.startswith(b"HTTP/1.1 408")
        assert closed == b""
        assert time.monotonic() - started < 10, "not by a longer timeout of somebody else"


async def test_a_new_member_gets_its_full_share_only_after_a_while(shared: Site) -> None:
    async with member("old") as old, member("new") as new:
        slow = {"slow_start": {"enable": True, "duration": 2}}
        at = await shared.serve({"default_pool_id": "slow"}, pools=pool(old.port, name="slow", **slow))
        begun = time.monotonic()

        async def grown() -> bool:
            return time.monotonic() - begun > 2.1 and (await at.get()).status == 200

        await until_true(grown)
        await at.change(pools=pool(old.port, new.port, name="slow", **slow))
        first = Counter([(await at.get()).member for _ in range(40)])
        assert first["new"] < 12, first  # a tenth to a quarter; half of them without the slow start

        async def equal() -> bool:
            shares = Counter([(await at.get()).member for _ in range(20)])
            return shares["new"] >= 9

        await until_true(equal)


async def test_clients_without_a_certificate_of_the_ca_are_rejected_and_others_identified(shared: Site) -> None:
    async with member() as only:
        listener = secure(
            default_pool_id="ca-pool",
            client_ca_tls_container_ref="ca",
            insert_headers={"X-Forwarded-Clientcert-subjectdn-enable": True},
        )
        ca = authority()
        world = shared.plane.world
        world.add("certificates", "ca", _ca())
        at = await _unsettled(shared, listener, pool(only.port, name="ca-pool"))
        allowed = trusting()
        with tempfile.TemporaryDirectory() as directory:
            pair = ca.issue("client.example.com")
            path = Path(directory) / "client.pem"
            path.write_text(pair.certificate + pair.key)
            allowed.load_cert_chain(path)

        async def told() -> Any:
            try:
                async with (
                    aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=allowed)) as session,
                    session.get(at.origin) as answer,
                ):
                    return json.loads(await answer.text())["headers"] if answer.status == 200 else None
            except (OSError, aiohttp.ClientError):
                return None

        await until_true(told)
        assert (await told())["x-forwarded-clientcert-subjectdn"] == "CN=client.example.com"
        with pytest.raises((OSError, aiohttp.ClientError)):
            await at.get()


def _check(kind: str, **fields: Any) -> dict[str, Any]:
    every = {"id": "hm", "type": kind, "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}
    return every | ({"url_path": "/health"} if kind.startswith("HTTP") else {}) | fields


def _ca() -> Certificate:
    return Certificate(id="ca", type="client", chain=parse_chain(authority().certificate))


async def _unsettled(shared: Site, listener: dict[str, Any], pools: dict[str, Any]) -> At:
    """As ``Site.serve``, for a listener that does not let the site itself in."""
    at = At(shared, "mtls", free_port())
    at_once = {"loadbalancer_id": "lb", "protocol_port": at.port} | listener
    other = await shared.serve()
    await other.change(listeners={"mtls": at_once}, pools=pools)
    return at


async def _met(at: At, members: set[str]) -> bool:
    return {(await at.get()).member for _ in range(6)} == members


async def _is(at: At, status: int) -> bool:
    return (await at.get()).status == status


async def _alpn(at: At) -> str | None:
    context: ssl.SSLContext = trusting("h2", "http/1.1")
    _, writer = await asyncio.open_connection("127.0.0.1", at.port, ssl=context, server_hostname="m")
    found: str | None = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.close()
    return found
