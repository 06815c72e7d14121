"""Signatures of posts, with which a receiver detects forged and replayed ones.

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
    """Return the two headers of a post; `now` is in seconds since 1970."""
    return {TIMESTAMP: str(now), SIGNATURE: f"v1={_digest(key, body, str(now))}"}


def genuine(key: bytes, received: Mapping[str, str], body: bytes, now: int) -> bool:
    """Return whether a holder of `key` signed the post within `WINDOW` seconds of `now`."""
    at, signature = received.get(TIMESTAMP, ""), received.get(SIGNATURE, "")
    fresh = at.isdigit() and abs(now - int(at)) <= WINDOW
    return fresh and hmac.compare_digest(signature, f"v1={_digest(key, body, at)}")


def _digest(key: bytes, body: bytes, at: str) -> str:
    return hmac.new(key, at.encode() + b"." + body, hashlib.sha256).hexdigest()
