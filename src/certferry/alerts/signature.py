"""How a receiver knows that a post comes from here, and is not an old one played again.

``X-Certferry-Signature: v1=<hex>`` is HMAC-SHA-256 over ``<X-Certferry-Timestamp>.<body>``.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

TIMESTAMP: Final = "X-Certferry-Timestamp"
SIGNATURE: Final = "X-Certferry-Signature"
WINDOW: Final = 300
"""Seconds that a receiver should accept between the timestamp and its own clock."""


def headers(key: bytes, body: bytes, now: int) -> dict[str, str]:
    """The two headers of a post at second `now` since 1970."""
    return {TIMESTAMP: str(now), SIGNATURE: f"v1={_digest(key, body, str(now))}"}


def genuine(key: bytes, given: Mapping[str, str], body: bytes, now: int) -> bool:
    """Whether a post with these headers is from a holder of `key`, and fresh."""
    at, signature = given.get(TIMESTAMP, ""), given.get(SIGNATURE, "")
    fresh = at.isdigit() and abs(now - int(at)) <= WINDOW
    return fresh and hmac.compare_digest(signature, f"v1={_digest(key, body, at)}")


def _digest(key: bytes, body: bytes, at: str) -> str:
    return hmac.new(key, at.encode() + b"." + body, hashlib.sha256).hexdigest()
