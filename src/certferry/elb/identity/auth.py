"""Who is asking: from a token or a signature to an ``Actor``, and logins with a limit.

The application calls it before any handler. It knows the headers, not what is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from certferry.elb.errors import Refused, unauthenticated
from certferry.elb.identity.actor import Actor
from certferry.elb.identity.signature import BadSignature, Presented, claim_of, verify
from certferry.elb.identity.users import Identity

_MINUTE: Final = 60.0
_REMEMBERED: Final = 10_000


def authenticated(identity: Identity, request: Presented, now: datetime) -> Actor:
    """The user of `request`; raises ``Refused`` (401)."""
    if token := request.headers.get("x-auth-token"):
        session = identity.by_token(token)
        if session is None:
            raise unauthenticated("The token is unknown or has expired: log in again")
        return session.actor
    header = request.headers.get("authorization")
    if not header:
        raise unauthenticated("Send a token (X-Auth-Token) or sign the request (Authorization)")
    try:
        claim = claim_of(header)
        found = identity.by_access_key(claim.access_key)
        if found is None:
            raise BadSignature("The access key is unknown")
        actor, secret_key = found
        verify(claim, request, secret_key, now)
    except BadSignature as bad:
        raise unauthenticated(str(bad)) from None
    return actor


class Logins:
    """Failed logins per user and address: after `most` within a minute, more are refused unseen."""

    def __init__(self, most: int, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._most = most
        self._clock = clock
        self._failures: dict[tuple[str, str], list[float]] = {}
        self._lock = threading.Lock()

    def check(self, user: str, address: str) -> None:
        """Raises ``Refused`` (429) when there were too many."""
        with self._lock:
            if len(self._recent(user, address)) >= self._most:
                raise Refused(429, "SYS.0429", "Too many failed logins: wait a minute and try again")

    def failed(self, user: str, address: str) -> None:
        """Counts one."""
        with self._lock:
            if len(self._failures) >= _REMEMBERED:
                self._failures.pop(next(iter(self._failures)))
            self._failures[user, address] = [*self._recent(user, address), self._clock().timestamp()]

    def _recent(self, user: str, address: str) -> list[float]:
        since = self._clock().timestamp() - _MINUTE
        return [at for at in self._failures.get((user, address), ()) if at > since]
