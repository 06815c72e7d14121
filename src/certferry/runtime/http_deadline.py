"""A deadline for HTTP requests: a connection whose request does not arrive completely in time is closed.

uvicorn has no such deadline, and httptools accepts headers of any length.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD: Final = 64 << 10
"""Bytes of a request before its body."""


def _debug(event: str, **fields: Any) -> None:
    import structlog  # the embedded Kubernetes API starts without it

    structlog.get_logger("certferry").debug(event, **fields)


class Deadline:
    """Closes a transport unless it is stopped in time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def start(self, transport: asyncio.Transport) -> None:
        """Start, unless it runs already."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._expire, transport)

    def stop(self) -> None:
        """Stop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self, transport: asyncio.Transport) -> None:
        if not transport.is_closing():
            _debug("request not received in time", seconds=self._seconds)
            transport.close()


def http_protocol(seconds: float) -> type[HttpToolsProtocol]:
    """Return uvicorn's HTTP protocol with `seconds` from the first byte of a request to its last."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class BoundedHttp(HttpToolsProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._deadline = Deadline(seconds)
            self._deadline.start(transport)
            self._head: int | None = 0

        def connection_lost(self, exc: Exception | None) -> None:
            self._deadline.stop()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._head is not None:
                self._head += len(data)
                if self._head > MAX_HEAD and not self.transport.is_closing():
                    _debug("request header too long", most=MAX_HEAD)
                    self.transport.close()

        def on_message_begin(self) -> None:
            self._deadline.start(self.transport)
            self._head = 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._head = None
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._deadline.stop()
            super().on_message_complete()

    return BoundedHttp
