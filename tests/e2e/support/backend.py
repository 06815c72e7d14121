"""The application behind the ingresses: answers, echoes WebSockets, streams slowly. A thread of its own."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

from aiohttp import WSMsgType, web


class Backend:
    """An HTTP/1.1 server on a loopback port of its own while the context lasts."""

    port: int

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="backend", daemon=True)
        self._thread.start()
        assert ready.wait(10), "the test backend did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(ready))
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self._ended = asyncio.Event()
        app = web.Application()
        app.router.add_get("/ws", _echo)
        app.router.add_get("/slow/{chunks}", _slow)
        app.router.add_route("*", "/{path:.*}", _hello)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, keepalive_timeout=3600)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        await self._ended.wait()
        await runner.cleanup()


async def _hello(request: web.Request) -> web.Response:
    return web.Response(text=f"{request.host}{request.path}\n")


async def _echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


async def _slow(request: web.Request) -> web.StreamResponse:
    """As many chunks as asked for, twenty a second."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    for number in range(int(request.match_info["chunks"])):
        await answer.write(f"{number}\n".encode())
        await asyncio.sleep(0.05)
    await answer.write_eof()
    return answer
