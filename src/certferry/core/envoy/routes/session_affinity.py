"""Session affinity: the same client reaches the same member again.

By cookie: Envoy names the member in a cookie of its own. Unlike hashing, a new or removed member moves no other client.
An application's cookie does not name the member, so for APP_COOKIE ours is set beside it and lives as long as the
browser. By source address: a consistent hash.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from certferry.core.envoy.resource import TYPE
from certferry.core.model.elb import Pool

FILTER: Final = "envoy.filters.http.stateful_session"
COOKIE: Final = "CERTFERRY_MEMBER"
_FILTER_TYPE: Final = f"{TYPE}envoy.extensions.filters.http.stateful_session.v3."
_COOKIE_STATE: Final = f"{TYPE}envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState"
_BY_ADDRESS: Final = {"connection_properties": {"source_ip": True}}


class Stickiness(msgspec.Struct, frozen=True):
    """The session affinity of a pool: by cookie, by address, or (most pools) none."""

    cookie: str = ""
    """The name of the cookie."""
    seconds: int = 0
    """Its lifetime; 0: as long as the browser."""
    address: bool = False

    def hash_policy(self) -> list[dict[str, Any]]:
        """Return the hash policy of a pool with affinity by address."""
        return [_BY_ADDRESS] if self.address else []

    def within(self, policy_id: str) -> Stickiness:
        """Return the affinity for one policy, with a cookie name of its own."""
        if not self.cookie:
            return self
        return msgspec.structs.replace(self, cookie=f"{self.cookie}_{_mark(policy_id)}")

    def route_filters(self) -> dict[str, Any]:
        """Return the per-route filter configuration; {} without a cookie."""
        if not self.cookie:
            return {}
        cookie: dict[str, Any] = {"name": self.cookie, "path": "/"}
        if self.seconds:
            cookie["ttl"] = f"{self.seconds}s"
        state = {
            "name": "envoy.http.stateful_session.cookie",
            "typed_config": {"@type": _COOKIE_STATE, "cookie": cookie},
        }
        session = {"@type": f"{_FILTER_TYPE}StatefulSessionPerRoute", "stateful_session": {"session_state": state}}
        return {FILTER: session}


def stickiness(pool: Pool) -> Stickiness:
    """Return the affinity of `pool`, from its session persistence or its algorithm."""
    kept = pool.session_persistence
    if kept is None or pool.by_address:
        return Stickiness(address=pool.by_address)
    # A name for each pool: behind one host there may be several, by path.
    seconds = 60 * (kept.persistence_timeout or 1440) if kept.type == "HTTP_COOKIE" else 0
    return Stickiness(f"{COOKIE}_{_mark(pool.id)}", seconds)


def unstuck() -> dict[str, Any]:
    """Return the filter for a filter chain; only routes enable it."""
    return {"name": FILTER, "typed_config": {"@type": f"{_FILTER_TYPE}StatefulSession"}}


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
