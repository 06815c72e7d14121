"""A fault-injecting proxy between the controller and a healthy server.

A fault applies to the next matching requests, a given number of times. Other traffic passes unchanged,
including bodies and watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

_HOP = {"transfer-encoding", "content-length", "connection", "content-encoding", "keep-alive"}


@dataclass
class Fault:
    """A fault for `times` requests of `method` (empty: any) whose path and query contain `part`."""

    method: str = ""
    part: str = ""
    times: int = 1
    status: int = 0
    """Answered so, and not passed on."""
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    """Not passed on, and not answered either."""
    cut_before: bool = False
    cut_after: bool = False
    """Passed on, and its answer lost."""
    afterwards: Callable[[], Awaitable[None]] | None = None
    """Called after the request was forwarded and before the client gets the answer."""
    repeat: bool = False
    """Each line of the answer comes twice."""

    def matches(self, request: web.Request) -> bool:
        return self.times > 0 and self.method in ("", request.method) and self.part in request.path_qs


class Proxy:
    """One upstream; ``url`` is where the controller is sent."""

    def __init__(self, upstream: str, tls: ssl.SSLContext | None = None) -> None:
        self._upstream = upstream
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._port = 0
        self._open: dict[int, web.Request] = {}
        self.faults: list[Fault] = []
        self.hits = 0
        """Requests that a fault was done to."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._session = self._session or aiohttp.ClientSession(
            auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None)
        )
        app = web.Application(client_max_size=10_000_000)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        self.cut()
        if self._runner:
            await self._runner.cleanup()

    async def close(self) -> None:
        await self.stop()
        if self._session:
            await self._session.close()

    def cut(self) -> None:
        """Cut all connections in flight."""
        for request in list(self._open.values()):
            if request.transport is not None:
                request.transport.abort()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self._open[id(request)] = request
        try:
            return await self._handled(request)
        except (aiohttp.ClientError, OSError):
            return _abort(request)
        finally:
            del self._open[id(request)]

    async def _handled(self, request: web.Request) -> web.StreamResponse:
        fault = next((f for f in self.faults if f.matches(request)), None)
        if fault is None:
            return await self._passed(request, Fault())
        fault.times -= 1
        self.hits += 1
        if fault.status:
            body = {"error_code": "APIGW.0308", "error_msg": "told to fail", "code": fault.status}
            return web.json_response(body, status=fault.status, headers=fault.headers)
        if fault.hang:
            await asyncio.sleep(60)
        return _abort(request) if fault.cut_before else await self._passed(request, fault)

    async def _passed(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        assert self._session is not None
        body = await request.read()
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        async with self._session.request(
            request.method,
            self._upstream + request.raw_path,
            data=body or None,
            headers=headers,
            ssl=self._tls or True,
            allow_redirects=False,
        ) as answer:
            if fault.afterwards:
                await answer.read()
                await fault.afterwards()
            if fault.cut_after:
                await answer.read()
                return _abort(request)
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            await self._body(answer, response, fault.repeat)
            return response

    async def _body(self, answer: aiohttp.ClientResponse, response: web.StreamResponse, repeat: bool) -> None:
        with contextlib.suppress(ConnectionError):
            if not repeat:
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                return
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    await response.write((line + b"\n") * 2)


def _abort(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
