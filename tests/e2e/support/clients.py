"""Clients that hold or open connections while certificates change; each records its first failure.

A client never retries, and never reopens a closed connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.e2e.support.tls import Address, shown, trusting

PACE = 0.02
"""Seconds between two requests of one client: they share two cores with all that they test."""


FAILURES = (OSError, EOFError, TimeoutError, AssertionError, LookupError, WebSocketException, h2.exceptions.H2Error)


class Order:
    """The order in which certificates were written, and the newest that any client was shown."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self.seen = 0

    def add(self, fingerprint: str) -> None:
        """Before it is put in place."""
        self._index[fingerprint] = len(self._index)

    def see(self, fingerprint: str, since: int) -> None:
        """Note what a connection showed that began when `since` had been seen."""
        index = self._index[fingerprint]
        assert index >= since, f"certificate {index} was shown after certificate {since}"
        self.seen = max(self.seen, index)

    def newest_seen(self) -> bool:
        return self.seen == len(self._index) - 1


class Client(ABC):
    """One client: `open`, then `once` again and again, then `close`."""

    def __init__(self, address: Address, host: str) -> None:
        self.address = address
        self.host = host
        self.served = 0
        self.failure: str | None = None

    @abstractmethod
    async def open(self) -> None:
        """Connect, where a connection is held."""

    @abstractmethod
    async def once(self) -> None:
        """One exchange; raises when it does not go as it should."""

    @abstractmethod
    async def close(self) -> None:
        """By the client's own will, after the last exchange."""

    async def run(self, ended: asyncio.Event) -> None:
        """Exchange until `ended`, or until the first failure."""
        try:
            while not ended.is_set():
                async with asyncio.timeout(15):
                    await self.once()
                self.served += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), PACE)
            await self.close()
        except FAILURES as wrong:
            self.failure = f"{type(self).__name__} after {self.served}: {type(wrong).__name__} {wrong}"


class KeepAlive(Client):
    """HTTP/1.1, one connection for all requests."""

    async def open(self) -> None:
        self._streams = await _connected(self.address, self.host, "http/1.1")

    async def once(self) -> None:
        await _get(*self._streams, self.host)

    async def close(self) -> None:
        self._streams[1].close()


class Idle(KeepAlive):
    """One idle connection that must still work at the end."""

    async def run(self, ended: asyncio.Event) -> None:
        await ended.wait()
        try:
            async with asyncio.timeout(15):
                await self.once()
        except FAILURES as wrong:
            self.failure = f"Idle: {type(wrong).__name__} {wrong}"
        self.served = 1
        await self.close()


class Http2(Client):
    """HTTP/2, one connection for all requests."""

    async def open(self) -> None:
        self._reader, self._writer = await _connected(self.address, self.host, "h2")
        tls = self._writer.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == "h2", "HTTP/2 was not agreed upon"
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self._h2.initiate_connection()
        self._writer.write(self._h2.data_to_send())

    async def once(self) -> None:
        stream = self._h2.get_next_available_stream_id()
        headers = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", self.host)]
        self._h2.send_headers(stream, headers, end_stream=True)
        self._writer.write(self._h2.data_to_send())
        status = ""
        while True:
            data = await self._reader.read(65536)
            if not data:
                raise EOFError("the HTTP/2 connection was closed")
            for event in self._h2.receive_data(data):
                assert not isinstance(event, h2.events.ConnectionTerminated), "GOAWAY"
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[b":status"].decode()
                elif isinstance(event, h2.events.DataReceived):
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded) and event.stream_id == stream:
                    assert status == "200", f"status {status}"
                    self._writer.write(self._h2.data_to_send())
                    return
            self._writer.write(self._h2.data_to_send())

    async def close(self) -> None:
        self._writer.close()


class WebSocket(Client):
    """One WebSocket that echoes."""

    async def open(self) -> None:
        self._socket = await connect(
            f"wss://{self.host}/ws",
            ssl=trusting("http/1.1"),
            host=self.address.ip,
            port=self.address.port,
            server_hostname=self.host,
            proxy=None,
            ping_interval=None,
        )

    async def once(self) -> None:
        said = str(self.served)
        await self._socket.send(said)
        heard = await self._socket.recv()
        assert heard == said, f"said {said}, heard {heard!r}"

    async def close(self) -> None:
        await self._socket.close()


class Newcomer(Client):
    """A new connection for each request; fails if it is shown an older certificate than a client before it."""

    def __init__(self, address: Address, host: str, order: Order | None = None) -> None:
        super().__init__(address, host)
        self.order = order
        self._context = trusting("http/1.1")

    async def open(self) -> None:
        """Nothing is held."""

    async def close(self) -> None:
        """Each connection was closed at once."""

    async def once(self) -> None:
        since = self.order.seen if self.order else 0
        reader, writer = await asyncio.open_connection(*self.address, ssl=self._context, server_hostname=self.host)
        try:
            if self.order:
                self.order.see(shown(writer.get_extra_info("ssl_object")), since)
            await _get(reader, writer, self.host)
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def running(*clients: Client) -> AsyncIterator[None]:
    """All of `clients` at work while the context lasts; at its end none of them has failed."""
    ended = asyncio.Event()
    for client in clients:
        await client.open()
    tasks = [asyncio.create_task(client.run(ended)) for client in clients]
    try:
        yield
    finally:
        ended.set()
        await asyncio.gather(*tasks)
    failures = [client.failure for client in clients if client.failure]
    assert not failures, failures
    assert all(client.served for client in clients), "a client never came to a request"


def held(address: Address, host: str) -> list[Client]:
    """One of each kind of held connection."""
    return [KeepAlive(address, host), Http2(address, host), WebSocket(address, host), Idle(address, host)]


async def _connected(address: Address, host: str, protocol: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context: ssl.SSLContext = trusting(protocol)
    return await asyncio.open_connection(*address, ssl=context, server_hostname=host)


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
    """One GET and its whole answer, which must be a 200 that keeps the connection."""
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    status, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if line)
    await reader.readexactly(int(headers["content-length"]))
    assert status.split()[1] == "200", status
    assert headers.get("connection") != "close", "the server wants to close the connection"
