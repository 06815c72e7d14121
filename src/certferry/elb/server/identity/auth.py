"""Authentication of requests by token or signature, and a limit on failed logins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from certferry.elb.server.actor import Actor
from certferry.elb.server.errors import ApiError, unauthenticated
from certferry.elb.server.identity.request_signature import BadSignature, Presented, claim_of, verify
from certferry.elb.server.identity.users import Identity

_MINUTE: Final = 60.0
_REMEMBERED: Final = 10_000
_USERS: Final = 5
"""Users for whom one address may fail the full number of times."""


def authenticated(identity: Identity, request: Presented, now: datetime) -> Actor:
    """Return the user of `request`. Raises ApiError (401)."""
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
        result = identity.by_access_key(claim.access_key)
        if result is None:
            raise BadSignature("The access key is unknown")
        actor, secret_key = result
        verify(claim, request, secret_key, now)
    except BadSignature as bad:
        raise unauthenticated(str(bad)) from None
    return actor


class Logins:
    """Failed logins of the last minute, by user and by address. More than `most` are rejected without a password check.

    An address may fail for several users, but not for arbitrarily many. An attempt counts before its password is
    checked, so that parallel attempts do not evade the limit.
    """

    def __init__(self, most: int, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._most = most
        self._clock = clock
        self._attempts: dict[tuple[str, str], list[float]] = {}
        self._lock = threading.Lock()

    def attempt(self, user: str, address: str) -> None:
        """Count an attempt. Raises ApiError (429) after too many."""
        with self._lock:
            for key, most in self._limits(user, address):
                if len(self._recent(key)) >= most:
                    raise ApiError(429, "SYS.0429", "Too many failed logins: wait a minute and try again")
            for key, _ in self._limits(user, address):
                if len(self._attempts) >= _REMEMBERED:
                    self._attempts.pop(next(iter(self._attempts)))
                self._attempts[key] = [*self._recent(key), self._clock().timestamp()]

    def succeeded(self, user: str, address: str) -> None:
        """Forget the last attempt, because it succeeded."""
        with self._lock:
            for key, _ in self._limits(user, address):
                self._attempts[key] = self._recent(key)[:-1]

    def _limits(self, user: str, address: str) -> tuple[tuple[tuple[str, str], int], ...]:
        return (((user, address), self._most), (("", address), self._most * _USERS))

    def _recent(self, key: tuple[str, str]) -> list[float]:
        since = self._clock().timestamp() - _MINUTE
        return [at for at in self._attempts.get(key, ()) if at > since]
