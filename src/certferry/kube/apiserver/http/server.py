"""The HTTP server around the API: connections, authentication, responses and streams.

It uses aiohttp's server rather than ASGI under uvicorn for three reasons. Its parser is in C: a Secret PUT
over TLS costs about a third less than with h11. It exposes the client's certificate. Each ``write`` of a stream
is one HTTP chunk, which watch clients need.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import unquote

import msgspec
from aiohttp import ClientConnectionResetError, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from certferry.kube.apiserver.auth import auth
from certferry.kube.apiserver.auth.auth import Tokens, User
from certferry.kube.apiserver.errors import ApiStatus, internal, unauthorized
from certferry.kube.apiserver.http.discovery import VERSION
from certferry.kube.apiserver.http.handlers import Api
from certferry.kube.apiserver.http.request import Request, Response
from certferry.runtime.http_deadline import Deadline

MAX_BODY = 3 * 1024 * 1024
_OF_SERVER = ("request_factory", "handler_cancellation")
"""Options of the server that are not its connections'."""
_BLOCK = 64 * 1024
_HEALTH = ("/livez", "/readyz", "/healthz")


class HttpServer:
    """The request handler of aiohttp's low-level server."""

    def __init__(self, api: Api, tokens: Tokens, ready: Callable[[], bool], read_timeout: float) -> None:
        self._api, self._tokens, self._ready, self._read_timeout = api, tokens, ready, read_timeout
        self._streams: set[asyncio.Task[Any]] = set()

    def server(self) -> web.Server:
        """Return the aiohttp server for a listening socket."""
        return _Server(
            self._read_timeout,
            self.handle,
            request_factory=_request,
            handler_cancellation=True,
            # Longer than Go keeps idle connections, so that no client writes to one that we just closed.
            keepalive_timeout=600,
            access_log=None,
            # A compressed body would be unpacked on the loop, also what follows the most that is read.
            auto_decompress=False,
        )

    def end_streams(self) -> None:
        """End every watch, because none ends by itself at shutdown."""
        for task in self._streams:
            task.cancel()

    async def handle(self, request: BaseRequest) -> web.StreamResponse:
        """Answer one request; an unexpected exception becomes a 500."""
        try:
            answer = await self._answer(request)
            if isinstance(answer, Response) and answer.parts:
                return await _send_parts(request, answer)
            if isinstance(answer, Response):
                return _response(answer, head=request.method == "HEAD")
        except ApiStatus as refused:
            return _status_response(refused)
        except (ClientConnectionResetError, ConnectionError):
            raise
        except Exception:
            # Without the request's body, which may contain a key.
            import structlog  # this import takes as long as the rest of a start

            log = structlog.get_logger("certferry.kube")
            log.exception("request failed", method=request.method, path=request.path)
            return _status_response(internal("the request failed; the server's log says more"))
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        try:
            return await _send_events(request, answer)
        finally:
            self._streams.discard(task)

    async def _answer(self, request: BaseRequest) -> Response | AsyncIterator[bytes]:
        path = "/" + request.path.strip("/")
        if path in _HEALTH or path.startswith(tuple(f"{h}/" for h in _HEALTH)):
            return self._health()
        user = self._user(request)
        if user is None:
            if path == "/version":
                return Response(msgspec.json.encode(VERSION))
            raise unauthorized()
        return await self._api.handle(
            Request(
                method=request.method,
                path=unquote(path),
                query=dict(request.query),
                user=user,
                accept=request.headers.get("Accept", ""),
                media=request.headers.get("Content-Type", "").partition(";")[0].strip(),
                body=await _body(request, self._read_timeout),
                host=request.host,
                user_agent=request.headers.get("User-Agent", ""),
            )
        )

    def _health(self) -> Response:
        if not self._ready():
            return Response(b"not ready", code=500, media="text/plain")
        return Response(b"ok", media="text/plain")

    def _user(self, request: BaseRequest) -> User | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._tokens.identify(token.strip())
        connection = request.transport.get_extra_info("ssl_object") if request.transport else None
        shown = connection.getpeercert() if connection else None
        return auth.from_certificate(shown.get("subject")) if shown else None


class _Server(web.Server):
    """aiohttp's server with a deadline for each request."""

    def __init__(self, read_timeout: float, handler: Any, **options: Any) -> None:
        super().__init__(handler, **options)
        self._read_timeout, self._options = read_timeout, options

    def __call__(self) -> RequestHandler:
        options = {name: value for name, value in self._options.items() if name not in _OF_SERVER}
        return _Connection(self._read_timeout, self, **options)


class _Connection(RequestHandler):
    """One connection. A request's header must arrive within the deadline; ``_body`` bounds the body."""

    __slots__ = ("_deadline",)

    def __init__(self, read_timeout: float, server: web.Server, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._deadline = Deadline(read_timeout)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._deadline.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages or self._current_request is not None:
            self._deadline.stop()
        elif self.transport is not None:
            self._deadline.start(self.transport)


async def _body(request: BaseRequest, seconds: float) -> bytes:
    if not request.body_exists:
        return b""
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        raise ApiStatus(408, "Timeout", f"the request did not arrive within {seconds:g} s") from None
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise ApiStatus(400, "BadRequest", f"the body is incomplete: {type(error).__name__}") from None
    except web.HTTPRequestEntityTooLarge:
        raise ApiStatus(413, "RequestEntityTooLarge", f"Request entity too large: limit is {MAX_BODY}") from None


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> BaseRequest:
    loop = asyncio.get_running_loop()
    return BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY)


def _response(answer: Response, *, head: bool) -> web.Response:
    response = web.Response(body=b"" if head else answer.body, status=answer.code)
    _set_headers(response, answer)
    return response


def _set_headers(response: web.StreamResponse, answer: Response) -> None:
    response.headers["Content-Type"] = answer.media
    response.headers["Cache-Control"] = "no-cache, private"
    for text in answer.warnings:
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')


async def _send_parts(request: BaseRequest, answer: Response) -> web.StreamResponse:
    """Send a long body a few parts at a time, at the client's pace."""
    response = web.StreamResponse(status=answer.code)
    _set_headers(response, answer)
    response.content_length = sum(map(len, answer.parts))
    await response.prepare(request)
    if request.method != "HEAD":
        pending, size = [], 0
        for piece in answer.parts:
            pending.append(piece)
            size += len(piece)
            if size >= _BLOCK:
                await response.write(b"".join(pending))
                pending, size = [], 0
        await response.write(b"".join(pending))
    await response.write_eof()
    return response


def _status_response(refused: ApiStatus) -> web.Response:
    response = _response(
        Response(msgspec.json.encode(refused.body()), refused.code, warnings=refused.warnings), head=False
    )
    if refused.code == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="certferry"'
    return response


async def _send_events(request: BaseRequest, events: AsyncIterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    # Otherwise the headers wait for the first event, which may take long.
    await response.write(b"")
    try:
        async for event in events:
            await response.write(event)
        await response.write_eof()
    except (ClientConnectionResetError, ConnectionError):
        pass  # the client disconnected; it will resume the watch
    return response
