"""Connections that are held while certificates change, and a crowd that connects anew all the time."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Protocol

import aiohttp
import h2.config
import h2.connection
import h2.events

from tests.elb.support.dataplane import DEADLINE, handshake, trusting


class Held(Protocol):
    """A connection that can be tried, and must still be the same one."""

    async def use(self) -> None:
        """One exchange; raises if it fails or if the connection is another one."""

    async def close(self) -> None: ...


class KeepAlive:
    """HTTP/1.1: requests on one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self.reader, self.writer, self.host = reader, writer, host

    @classmethod
    async def open(cls, port: int, name: str) -> KeepAlive:
        return cls(*await _connect(port, name, trusting("http/1.1")), name)

    async def use(self) -> None:
        self.writer.write(f"GET / HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), DEADLINE)
        assert head.startswith(b"HTTP/1.1 200 "), head
        assert b"connection: close" not in head.lower()
        length = next(int(v) for k, _, v in _fields(head) if k == b"content-length")
        await self.reader.readexactly(length)

    async def close(self) -> None:
        await _close(self.writer)


class Http2:
    """HTTP/2: one stream after another on one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self.reader, self.writer, self.host = reader, writer, host
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.connection.initiate_connection()

    @classmethod
    async def open(cls, port: int, name: str) -> Http2:
        return cls(*await _connect(port, name, trusting("h2")), name)

    async def use(self) -> None:
        stream = self.connection.get_next_available_stream_id()
        headers = {":method": "GET", ":scheme": "https", ":authority": self.host, ":path": "/"}
        self.connection.send_headers(stream, list(headers.items()), end_stream=True)
        self.writer.write(self.connection.data_to_send())
        status = b""
        while True:
            data = await asyncio.wait_for(self.reader.read(65_536), DEADLINE)
            assert data, "the HTTP/2 connection was closed"
            for event in self.connection.receive_data(data):
                assert not isinstance(event, h2.events.ConnectionTerminated), "GOAWAY"
                if isinstance(event, h2.events.ResponseReceived):
                    status = next(v for k, v in event.headers if k == b":status")
                if isinstance(event, h2.events.DataReceived):
                    self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if isinstance(event, h2.events.StreamEnded) and event.stream_id == stream:
                    self.writer.write(self.connection.data_to_send())
                    assert status == b"200"
                    return

    async def close(self) -> None:
        await _close(self.writer)


class Socket:
    """A WebSocket that is echoed."""

    def __init__(self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.session, self.socket, self.said = session, socket, 0

    @classmethod
    async def open(cls, port: int, name: str) -> Socket:
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting()))
        url = f"https://127.0.0.1:{port}/echo"
        return cls(session, await session.ws_connect(url, headers={"Host": name}, server_hostname=name))

    async def use(self) -> None:
        self.said += 1
        await self.socket.send_str(f"{self.said}")
        assert await self.socket.receive_str(timeout=DEADLINE) == f"{self.said}"

    async def close(self) -> None:
        await self.socket.close()
        await self.session.close()


class Idle:
    """A connection that only listens: any word, or its end, fails it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, name: str) -> Idle:
        return cls(*await _connect(port, name, trusting("http/1.1")))

    async def use(self) -> None:
        assert not self.reader.at_eof(), "the idle connection was closed"

    async def close(self) -> None:
        await _close(self.writer)


@contextlib.asynccontextmanager
async def held(port: int, name: str) -> AsyncIterator[list[Held]]:
    """One connection of each kind to the host `name`, all used once."""
    some: list[Held] = []
    try:
        for kind in (KeepAlive, Http2, Socket, Idle):
            opened: Held = await kind.open(port, name)
            some.append(opened)
            await opened.use()
        yield some
    finally:
        for one in some:
            await one.close()


class Crowd:
    """Clients that connect anew, one after another, and remember what they were shown."""

    def __init__(self, port: int, name: str) -> None:
        self.port, self.name = port, name
        self.seen: list[str] = []
        self.failures: list[str] = []
        self._leaving = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Crowd:
        self._task = asyncio.create_task(self._come())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._leaving = True
        await self._task

    async def sees(self, fingerprint: str) -> None:
        async def wait() -> None:
            while not self.seen or self.seen[-1] != fingerprint:  # noqa: ASYNC110 (a poll of what others do)
                await asyncio.sleep(0.001)

        await asyncio.wait_for(wait(), DEADLINE)

    async def _come(self) -> None:
        while not self._leaving:
            try:
                shown = await handshake(self.port, self.name)
            except (OSError, ssl.SSLError) as error:
                self.failures.append(repr(error))
                continue
            if not self.seen or self.seen[-1] != shown:
                self.seen.append(shown)


async def _connect(port: int, name: str, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


def _fields(head: bytes) -> list[Any]:
    return [(k.lower(), s, v.strip()) for k, s, v in (row.partition(b":") for row in head.split(b"\r\n")[1:])]
