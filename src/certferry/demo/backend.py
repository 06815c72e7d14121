"""The server behind the demo page: plain HTTP on one loopback port.

`up` starts it as a process of its own (``certferry demo backend``). It knows nothing of TLS:
that is the load balancer's part.
"""

from __future__ import annotations

from aiohttp import web

PAGE = """Hello from the demo backend.
You reached it over HTTPS: the load balancer ended TLS with the certificate that you gave it.
Host: {host}
Path: {path}
"""


async def page(request: web.Request) -> web.Response:
    """Any path: a few lines of text."""
    return web.Response(text=PAGE.format(host=request.host, path=request.path))


def serve(address: str, port: int) -> None:
    """Answer until SIGTERM. Raises OSError when the port is taken."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", page)
    web.run_app(app, host=address, port=port, print=None, access_log=None, handle_signals=True)
