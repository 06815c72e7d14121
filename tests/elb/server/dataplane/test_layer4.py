"""TCP, UDP and TLS listeners through a real Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from certferry.core.envoy import Options
from certferry.core.model.elb import IpGroupBinding
from certferry.core.x509.pem import parse_pair
from tests.elb.support.dataplane import DEADLINE, Plane, World, free_port, handshake, running, trusting, until_true
from tests.elb.support.long_connections import Crowd
from tests.elb.support.members import server_context
from tests.support.certs import authority

HOST = "db.example.com"
CERTIFICATES = {
    "main": {},
    "db": {"domain": [HOST]},
    "spare": {"domain": [HOST]},
    "other": {"domain": ["o.example.com"]},
}
DENIED = IpGroupBinding(ipgroup_id="here", type="black")


class Echo(asyncio.DatagramProtocol):
    """A member that answers each line or datagram with its own name before it."""

    def __init__(self, name: str, tls: bool = False) -> None:
        self.name, self.port = name, 0
        self.lines: list[bytes] = []
        self.context: ssl.SSLContext | None = None
        if tls:
            self.context = server_context([])

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Echo]:
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, ssl=self.context)
        self.port = server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", self.port))
        try:
            yield self
        finally:
            self.transport.close()
            server.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                self.lines.append(line)
                writer.write(f"{self.name} ".encode() + line)
        writer.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(f"{self.name} ".encode() + data, addr)


class Line:
    """A connection on which lines are echoed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, name: str = "", source: str | None = None) -> Line:
        tls = {"ssl": trusting(), "server_hostname": name} if name else {}
        local = (source, 0) if source else None
        return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=local, **tls))  # type: ignore[arg-type]

    async def use(self) -> str:
        """Return the name of the member that echoed; raises if the connection ended."""
        self.writer.write(b"hello\n")
        text = await asyncio.wait_for(self.reader.readline(), DEADLINE)
        assert text.endswith(b" hello\n"), text or "the connection was closed"
        return text.split()[0].decode()

    async def ends(self) -> bool:
        """Return whether the other side closed the connection."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(b"hello\n")
            return await asyncio.wait_for(self.reader.readline(), DEADLINE) == b""
        return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()


async def asked(port: int, source: str | None = None, **tls: str) -> str:
    """Return the member that a new client reaches, "" if none."""
    try:
        line = await Line.open(port, source=source, **tls)
        try:
            return await line.use()
        finally:
            await line.close()
    except (OSError, AssertionError, asyncio.IncompleteReadError):
        return ""


async def datagram(port: int, source: str = "127.0.0.1", patience: float = 0.3) -> str:
    """Return the member that answers a datagram, "" if none does."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.bind((source, 0))
        await loop.sock_sendto(client, b"hello", ("127.0.0.1", port))
        try:
            async with asyncio.timeout(patience):
                return (await loop.sock_recv(client, 100)).split()[0].decode()
        except TimeoutError:
            return ""


def written(
    protocol: str, port: int, *members: int, pool: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    """A world with one listener ``web`` of `protocol` and its pool."""
    rows = [{"id": f"m{n}", "address": "127.0.0.1", "protocol_port": member} for n, member in enumerate(members)]
    own = {"loadbalancer_id": "lb", "name": "pool", "protocol": protocol, "members": rows} | (pool or {})
    listener = {"loadbalancer_id": "lb", "protocol": protocol, "protocol_port": port, "default_pool_id": "pool"}
    if protocol == "TLS":
        listener |= {"default_tls_container_ref": "main", "sni_container_refs": ["db", "other"]}
    world: dict[str, Any] = {"listeners": {"web": listener | fields}, "pools": {"pool": own}}
    return world | ({"certificates": CERTIFICATES} if protocol == "TLS" else {})


@pytest.fixture
async def two() -> AsyncIterator[tuple[Echo, Echo]]:
    async with Echo("a").serving() as a, Echo("b").serving() as b:
        yield a, b


async def test_a_tcp_listener_shares_connections_among_its_members(two: tuple[Echo, Echo]) -> None:
    port = free_port()
    async with running(World(**written("TCP", port, two[0].port, two[1].port))) as plane:
        await until_true(lambda: asked(port))
        assert {await asked(port) for _ in range(6)} == {"a", "b"}
        plane.world.change("pools", "pool", members=())
        plane.publish()

        async def refused() -> bool:
            return not await asked(port)

        await until_true(refused)


async def test_weights_share_connections_out(two: tuple[Echo, Echo]) -> None:
    port = free_port()
    world = World(**written("TCP", port, two[0].port, two[1].port))
    heavy, light = world.state.pools["pool"].members
    members = (heavy, type(light)(id="m1", address="127.0.0.1", protocol_port=two[1].port, weight=0))
    world.change("pools", "pool", members=members)
    async with running(world):
        await until_true(lambda: asked(port))
        assert {await asked(port) for _ in range(6)} == {"a"}


@pytest.mark.parametrize("sticky", [{"lb_algorithm": "SOURCE_IP"}, {"session_persistence": {"type": "SOURCE_IP"}}])
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
async def test_a_client_stays_with_its_member(two: tuple[Echo, Echo], protocol: str, sticky: dict[str, Any]) -> None:
    port = free_port()
    async with running(World(**written(protocol, port, two[0].port, two[1].port, pool=sticky))):
        ask = asked if protocol == "TCP" else datagram
        await until_true(lambda: ask(port))
        seen = {
            source: {await ask(port, source) for _ in range(4)} for source in (f"127.0.1.{n}" for n in range(1, 17))
        }
        assert all(len(members) == 1 for members in seen.values()), seen
        assert {member for members in seen.values() for member in members} == {"a", "b"}


async def test_a_udp_listener_carries_datagrams_beside_a_tcp_one_on_its_port(two: tuple[Echo, Echo]) -> None:
    port = free_port()
    world = World(**written("TCP", port, two[0].port))
    udp = World(**written("UDP", port, two[1].port))
    world.add("pools", "datagrams", udp.state.pools["pool"])
    world.change("pools", "datagrams", id="datagrams")
    world.add("listeners", "udp", udp.state.listeners["web"])
    world.change("listeners", "udp", id="udp", default_pool_id="datagrams")
    async with running(world):
        await until_true(lambda: datagram(port))
        assert (await asked(port), await datagram(port)) == ("a", "b")


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "TLS"])
async def test_the_access_list_admits_and_rejects_clients(two: tuple[Echo, Echo], protocol: str) -> None:
    port = free_port()
    own = written(protocol, port, two[0].port, pool={"protocol": "UDP" if protocol == "UDP" else "TCP"})
    async with running(World(**own | {"ipgroups": {"here": ["127.0.9.0/24"], "empty": []}})) as plane:

        async def reached(source: str) -> bool:
            if protocol == "UDP":
                return bool(await datagram(port, source))
            return bool(await asked(port, source, **({"name": HOST} if protocol == "TLS" else {})))

        await until_true(lambda: reached("127.0.9.1"))
        for group, kind, listed, other in (
            ("here", "white", True, False),
            ("here", "black", False, True),
            ("empty", "white", False, False),
            ("empty", "black", True, True),
        ):
            plane.world.change("listeners", "web", ipgroup=IpGroupBinding(ipgroup_id=group, type=kind))
            plane.publish()

            async def as_wanted(wanted: tuple[bool, bool] = (listed, other)) -> bool:
                return (await reached("127.0.9.1"), await reached("127.0.8.1")) == wanted

            await until_true(as_wanted)


async def test_idle_connections_are_closed_after_the_timeout(two: tuple[Echo, Echo]) -> None:
    port = free_port()
    async with running(World(**written("TCP", port, two[0].port, keepalive_timeout=1))):
        await until_true(lambda: asked(port))
        line = await Line.open(port)
        await line.use()
        assert await asyncio.wait_for(line.reader.read(), DEADLINE) == b""
        await line.close()


@pytest.mark.parametrize("check", ["TCP", "HTTP"])
async def test_a_member_that_fails_its_check_gets_no_connections(two: tuple[Echo, Echo], check: str) -> None:
    port = free_port()
    monitor = {"id": "h", "type": check, "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}
    gone = free_port()
    pool = {"healthmonitor": monitor | ({"monitor_port": two[0].port} if check == "HTTP" else {})}
    members = (two[0].port, gone) if check == "TCP" else (two[0].port,)
    async with running(World(**written("TCP", port, *members, pool=pool))) as plane:
        if check == "HTTP":  # a member that speaks no HTTP
            await until_true(lambda: _failing(plane))
            assert not await asked(port)
        else:
            await until_true(lambda: _failing(plane))
            assert {await asked(port) for _ in range(6)} == {"a"}


@pytest.mark.parametrize("protocol", ["TCP", "TLS"])
async def test_members_are_told_the_client_by_the_proxy_protocol(two: tuple[Echo, Echo], protocol: str) -> None:
    port = free_port()
    own = written(protocol, port, two[0].port, pool={"protocol": "TCP"}, proxy_protocol_enable=True)
    async with running(World(**own)):
        tls = {"name": HOST} if protocol == "TLS" else {}
        line = await Line.open(port, source="127.0.7.7", **tls)
        line.writer.write(b"hello\n")
        head = await asyncio.wait_for(line.reader.readline(), DEADLINE)
        assert head.startswith(b"a PROXY TCP4 127.0.7.7 127.0.0.1 "), head
        await line.close()


async def test_a_tls_pool_is_reached_over_tls() -> None:
    port = free_port()
    async with Echo("a", tls=True).serving() as member, running(World(**written("TLS", port, member.port))):
        await until_true(lambda: asked(port, name=HOST))
        assert member.lines


@pytest.mark.parametrize("name", ["db", "main"])
async def test_fifty_rotations_of_a_tls_listener_close_no_connection(two: tuple[Echo, Echo], name: str) -> None:
    port = free_port()
    host = HOST if name == "db" else "main.example.com"
    async with running(World(**written("TLS", port, two[0].port, pool={"protocol": "TCP"}))) as plane:
        expected = [plane.world.fingerprint(name)]
        lines = [await Line.open(port, host) for _ in range(3)]
        async with Crowd(port, host) as crowd:
            await crowd.sees(expected[0])
            for _ in range(50):
                expected.append(plane.world.renew(name).fingerprint)
                plane.publish()
                await crowd.sees(expected[-1])
                for line in lines:
                    await line.use()
            assert crowd.failures == []
            assert crowd.seen == expected
        for line in lines:
            await line.close()


async def test_choosing_another_certificate_for_a_tls_listener_closes_no_connection(two: tuple[Echo, Echo]) -> None:
    port = free_port()
    async with running(World(**written("TLS", port, two[0].port, pool={"protocol": "TCP"}))) as plane:
        line = await Line.open(port, HOST)
        async with Crowd(port, HOST) as crowd:
            for turn in range(10):
                chosen = ("spare", "db")[turn % 2]
                plane.world.change("listeners", "web", sni_container_refs=(chosen, "other"))
                plane.publish()
                await crowd.sees(plane.world.fingerprint(chosen))
            counters = await plane.counters("listener_manager.listener_in_place_updated")
            assert counters["listener_manager.listener_in_place_updated"] == 0
            await line.use()
            assert crowd.failures == []
        await line.close()


async def test_a_bad_secret_leaves_the_last_good_one_on_a_tls_listener(two: tuple[Echo, Echo]) -> None:
    port = free_port()
    async with running(World(**written("TLS", port, two[0].port, pool={"protocol": "TCP"}))) as plane:
        before = plane.world.fingerprint("db")
        plane.world.put("db", parse_pair(*authority().issue(HOST)).chain, plane.world.pairs["db"].key)
        plane.publish()
        later = plane.world.renew("main").fingerprint
        plane.publish()

        async def renewed() -> bool:
            return await handshake(port, "main.example.com") == later

        await until_true(renewed)
        assert await handshake(port, HOST) == before


async def test_the_access_log_has_a_line_for_each_connection(two: tuple[Echo, Echo]) -> None:
    port = free_port()
    own = written("TLS", port, two[0].port, pool={"protocol": "TCP"})
    async with running(World(**own), Options(access_log=True)) as plane:
        await until_true(lambda: asked(port, name=HOST))
        raw = plane.directory / "access.raw"

        async def logged() -> bool:
            lines = [json.loads(row) for row in raw.read_text().splitlines()] if raw.exists() else []
            return any(
                (row["listener"], row.get("place"), row.get("server_name"), row.get("connected_us"), row["sent"])
                == ("web", HOST, HOST, 0, 8)
                for row in lines
            )

        await until_true(logged)


async def _failing(plane: Plane) -> bool:
    return bool((await plane.counters("cluster.pool.health_check.failure"))["cluster.pool.health_check.failure"])
