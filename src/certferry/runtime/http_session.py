"""HTTP/1.1 for a few requests over asyncio streams, and the sentences for requests without an answer.

`ShortSession` has the part of aiohttp's ClientSession that the clients use for single requests. Commands use it because
importing aiohttp takes twice as long as starting Python. What runs for longer, or streams, uses aiohttp.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

CONNECTIONS: Final = 4
"""Concurrent connections of a short session. A TLS handshake costs more than waiting for a turn."""
CONNECT_TIMEOUT: Final = 5.0
_HEADER_BYTES: Final = 1 << 16


class BrokenAnswerError(Exception):
    """A connection ended within an exchange, or the answer is not HTTP/1.1."""


class Headers(dict[str, str]):
    """Headers of an answer. Names match in any case."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a header."""
        return super().get(name.lower(), default)


class ShortResponse:
    """An answer that has been read to its end."""

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status, self.headers, self._body = status, headers, body

    async def read(self) -> bytes:
        """Return the body."""
        return self._body

    async def __aenter__(self) -> ShortResponse:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class ShortSession:
    """Connections to one origin, each used for several requests."""

    def __init__(self, tls: ssl.SSLContext | None, timeout: float) -> None:
        self._tls, self._timeout = tls, timeout
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._turn = asyncio.Semaphore(CONNECTIONS)

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], data: bytes | None = None, **_: object
    ) -> ShortResponse:
        """Send a request to `url`, which is encoded. Raises OSError if no connection is made, and the `failures`."""
        async with self._turn, asyncio.timeout(self._timeout):
            reader, writer = self._idle.pop() if self._idle else await self._connect(url)
            try:
                writer.write(_head(method, url, headers, data or b"") + (data or b""))
                response = await _answer(reader, method)
            except BaseException as error:
                writer.close()
                if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                    raise BrokenAnswerError(str(error)) from None
                raise
            if response.headers.get("connection", "").lower() == "close":
                writer.close()
            else:
                self._idle.append((reader, writer))
            return response

    async def close(self) -> None:
        """Close all connections."""
        for _, writer in self._idle:
            writer.transport.abort()  # a TLS shutdown would wait for the server
        self._idle.clear()

    async def _connect(self, url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        tls = (self._tls or ssl.create_default_context()) if secure else None
        port = parts.port or (443 if secure else 80)
        async with asyncio.timeout(CONNECT_TIMEOUT):
            return await asyncio.open_connection(parts.hostname, port, ssl=tls, limit=_HEADER_BYTES)


def failures() -> tuple[type[Exception], ...]:
    """Return the exceptions of a request without an answer, for ``except``."""
    aiohttp = sys.modules.get("aiohttp")
    return (OSError, TimeoutError, BrokenAnswerError, *((aiohttp.ClientError,) if aiohttp else ()))


def unanswered(error: BaseException) -> tuple[str, str]:
    """Return a code and a sentence for one of the `failures`."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if isinstance(error, TimeoutError):
        return "Timeout", "no answer in time"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "Untrusted", "its certificate is not trusted"
    if isinstance(cause, OSError) and (cause is not error or not type(error).__module__.startswith("aiohttp")):
        return "Unreachable", f"not reachable: {cause.strerror or cause}"
    return "Cut", f"the connection was cut ({type(error).__name__})"


def _head(method: str, url: str, headers: Mapping[str, str], body: bytes) -> bytes:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = {"host": parts.netloc, **{name.lower(): value for name, value in headers.items()}}
    if body or method != "GET":
        lines["content-length"] = str(len(body))
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    if len(text.splitlines()) != len(lines):
        raise ValueError("a header contains a line break")
    return f"{method} {target} HTTP/1.1\r\n{text}\r\n".encode()


async def _answer(reader: asyncio.StreamReader, method: str) -> ShortResponse:
    try:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        status = int(first.split(" ")[1])
        headers = Headers((name.strip().lower(), value.strip()) for name, _, value in (n.partition(":") for n in lines))
        return ShortResponse(status, headers, await _body(reader, headers, bodiless=method == "HEAD" or status == 204))
    except (EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
        raise BrokenAnswerError(str(error)) from None


async def _body(reader: asyncio.StreamReader, headers: Headers, *, bodiless: bool) -> bytes:
    if bodiless:
        return b""
    if "chunked" in headers.get("transfer-encoding", ""):
        chunks: list[bytes] = []
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            chunks.append((await reader.readexactly(size + 2))[:-2])
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass  # a trailer
        return b"".join(chunks)
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    headers["connection"] = "close"
    return await reader.read()
