"""A webhook receiver on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from certferry.alerts.signature import genuine

KEY = b"a key of enough characters"


class Receiver:
    """Keeps the bodies that it accepts; answers 500 to the next `failures` posts."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.genuine: list[bool] = []
        self.failures = 0
        self.posts = 0
        self.url = ""

    def alerts(self) -> list[tuple[str, str]]:
        """Return (name, status) of every alert, in the order of arrival."""
        return [(a["name"], a["status"]) for body in self.bodies for a in body["alerts"]]

    async def handle(self, request: web.Request) -> web.Response:
        self.posts += 1
        if self.failures:
            self.failures -= 1
            return web.Response(status=500)
        body = await request.read()
        self.genuine.append(genuine(KEY, request.headers, body, int(time.time())))
        self.bodies.append(msgspec.json.decode(body))
        return web.Response(status=200)


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    server = Receiver()
    app = web.Application()
    app.router.add_post("/hook", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield server
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)
