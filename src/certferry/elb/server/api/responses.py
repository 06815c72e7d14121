"""Requests read from ASGI, and answers in the vendor's form: envelope, error body, request id."""

from __future__ import annotations

import uuid
from typing import Any, Final

import msgspec
import structlog
from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from certferry.elb.server.api.request import ApiResponse
from certferry.elb.server.errors import ApiError, bad_request
from certferry.elb.server.identity.request_signature import Presented

_log = structlog.get_logger("certferry.elb")
MAX_BODY: Final = 1 << 20
"""Bytes of a request's body."""


async def read_request(request: Request, most: int = MAX_BODY) -> Presented:
    """Read a whole request with a body of at most `most` bytes. Raises ApiError (413, 400) if it is too long or its URI is not ASCII."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise ApiError(413, "ELB.8902", f"The body is longer than {most} bytes: send a smaller one")
    except ClientDisconnect:
        _log.debug("request cut off", path=request.url.path)
        raise bad_request("The body is incomplete") from None
    scope = request.scope
    try:
        path, query = scope["raw_path"].decode("ascii"), scope["query_string"].decode("ascii")
    except UnicodeDecodeError:
        raise bad_request("The URI is not ASCII") from None
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Presented(method=request.method, path=path, query=query, headers=headers, body=bytes(body))


def success(answer: ApiResponse, request_id: str) -> Response:
    """Render a success in the vendor's envelope: the body and its ``request_id``."""
    if answer.body is None:
        return Response(status_code=answer.status, headers={"X-Request-Id": request_id})
    return json_response(answer.status, {**answer.body, "request_id": str(uuid.UUID(request_id))}, request_id)


def failure(error: ApiError, request_id: str) -> Response:
    """Render an error in the vendor's form."""
    body = {"error_msg": error.sentence, "error_code": error.code, "request_id": request_id}
    return json_response(error.status, body, request_id)


def json_response(status: int, body: Any, request_id: str) -> Response:
    """Render `body` as JSON, with the id of the request in a header."""
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type="application/json",
        headers={"X-Request-Id": request_id},
    )
