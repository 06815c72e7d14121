"""Security headers of every response, and the origin checks of forms.

The content security policy allows the console's own scripts and styles, and nothing inline.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_LOGIN: Final = 16 << 10
"""Bytes of a form that needs no session."""
MAX_FORM: Final = 12 << 20
"""Bytes of any other form, files included."""
_log = structlog.get_logger()
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


class Headers:
    """Middleware that adds the headers to every response. `tls`: also send HSTS."""

    def __init__(self, app: ASGIApp, *, tls: bool) -> None:
        self._app = app
        self._fixed = {
            "content-security-policy": POLICY,
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "permissions-policy": "camera=(), geolocation=(), microphone=()",
        } | ({"strict-transport-security": "max-age=31536000"} if tls else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with the headers added."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._fixed.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)


class BodyLimit:
    """Middleware that answers 413 to a body that is too long for its path, and drops requests that are cut off."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with a bounded body."""
        most = MAX_LOGIN if scope.get("path") in ("/login", "/logout") else MAX_FORM
        received = 0

        async def receiving() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(413)
            return message

        try:
            await self._app(scope, receiving if scope["type"] == "http" else receive, send)
        except ClientDisconnect:
            _log.debug("request cut off", path=scope.get("path"))


def same_origin(request: Request) -> bool:
    """Return whether the browser says that a form comes from a page of the console."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def local_path(path: str) -> str:
    """Return `path` if it is a path of the console, else the first page. Prevents open redirects."""
    parts = urlsplit(path)
    fine = path.startswith("/") and not path.startswith(("//", "/\\")) and not (parts.scheme or parts.netloc)
    return path if fine and "\\" not in path and path.isprintable() else "/clusters"
