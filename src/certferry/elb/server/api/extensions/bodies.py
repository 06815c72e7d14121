"""Parsing and formatting for extensions: bodies without an envelope, query variables, instants."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from certferry.elb.server.api.request import ApiRequest
from certferry.elb.server.errors import bad_request

T = TypeVar("T", bound=msgspec.Struct)


def plain_body(call: ApiRequest, kind: type[T]) -> T:
    """Parse the request's JSON object; an empty body is an empty object. Raises ApiError (400)."""
    try:
        return msgspec.json.decode(call.body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise bad_request(f"The body cannot be used: {error}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise bad_request("The body is not JSON") from None


def asked_for(call: ApiRequest, name: str) -> str | None:
    """Return a query variable; None if absent or empty. Raises ApiError (400) if it is repeated."""
    values = [value for key, value in call.query if key == name]
    if len(values) > 1:
        raise bad_request(f"{name} is given {len(values)} times; once is enough")
    return values[0] if values and values[0] else None


def number(call: ApiRequest, name: str, default: int, most: int) -> int:
    """Return a whole number from the query. Raises ApiError (400)."""
    text = asked_for(call, name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) > most:
        raise bad_request(f"{name} is a number from 0 to {most}")
    return int(text)


def instant(at: datetime) -> str:
    """Format an instant for the wire: UTC, whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
