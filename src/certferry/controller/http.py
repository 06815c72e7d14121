"""HTTP of the controller: /metrics, /healthz, /readyz. No secrets, no writes."""

from __future__ import annotations

from aiohttp import web

from certferry.controller.controller import Controller
from certferry.runtime.metrics import CONTENT_TYPE


def application(controller: Controller) -> web.Application:
    """Return the application that serves the three pages of `controller`."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=controller.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        why = controller.not_ready
        return web.Response(text=f"{why}\n", status=503) if why else web.Response(text="ok\n")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    return app
