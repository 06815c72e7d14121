"""Members of pools: servers in this process that say who they are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
from aiohttp import web

from tests.support.certs import authority


class Member:
    """An HTTP server that returns its name and the request, and obeys a few paths."""

    def __init__(self, name: str) -> None:
        self.name, self.port = name, 0
        self.healthy = True
        self.served = 0
        self.names: list[str | None] = []
        """Server names that TLS clients asked for."""
        self.release = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/health":
            return web.Response(status=200 if self.healthy else 503)
        if request.path == "/silent":
            await self.release.wait()
        if request.path == "/echo":
            return await self._echo(request)
        if request.path == "/events":
            return await self._events(request)
        self.served += 1
        told = {"path": request.path_qs, "headers": dict(request.headers), "body": await request.text()}
        return web.Response(text=json.dumps(told), content_type="application/json", headers={"X-Member": self.name})

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        async for message in opened:
            await opened.send_str(f"{self.name}: {message.data}")
        return opened

    async def _events(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b"data: first\n\n")
        await self.release.wait()
        await stream.write(b"data: second\n\n")
        return stream


@contextlib.asynccontextmanager
async def member(name: str = "a", port: int = 0, tls: bool = False) -> AsyncIterator[Member]:
    """A running member; with `tls`, an HTTPS one."""
    told = Member(name)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", told.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=server_context(told.names) if tls else None).start()
    told.port = runner.addresses[0][1]
    try:
        yield told
    finally:
        told.release.set()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def grpc_member() -> AsyncIterator[int]:
    """A gRPC server with /test.Echo/Unary and a stream of replies at /test.Echo/Many."""

    async def unary(request: bytes, _: Any) -> bytes:
        return b"echo " + request

    async def many(request: bytes, _: Any) -> AsyncIterator[bytes]:
        for number in range(3):
            yield request + str(number).encode()

    handlers = {"Unary": grpc.unary_unary_rpc_method_handler(unary), "Many": grpc.unary_stream_rpc_method_handler(many)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(grace=None)


def server_context(names: list[Any]) -> ssl.SSLContext:
    """Return a TLS server's context that appends the names that clients ask for to `names`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = authority().issue("member.example.com")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "member.pem"
        path.write_text(pair.certificate + pair.key)
        context.load_cert_chain(path)
    context.sni_callback = lambda _, name, __: names.append(name)
    return context
