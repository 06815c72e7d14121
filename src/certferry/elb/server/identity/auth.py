"""Authentication of requests by token or signature, and limits on logins.

It runs before any handler. Invariant: memory and hashing are bounded, whatever names and addresses a client invents.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from certferry.elb.server.actor import Actor
from certferry.elb.server.errors import ApiError, unauthenticated
from certferry.elb.server.identity.request_signature import BadSignature, Presented, claim_of, verify
from certferry.elb.server.identity.users import Identity

_MINUTE: Final = 60.0
_REMEMBERED: Final = 10_000
WIDER: Final = 5
"""A user at all addresses, and an address with all users, may fail this many times as often as both together."""
_HASHING: Final = max(1, (os.cpu_count() or 1) // 2)
"""Passwords hashed at a time: half of the cores."""
_WAITING: Final = 100
"""Logins of one address that may wait; they take less than 10 seconds."""


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
    """Counts failed logins of the last minute by user, by address, and by both.

    Both together may fail `most` times. Once a user or an address has failed five times as often, a pair of both may
    fail only once. A right password therefore passes wherever its user has not failed, whatever others try.
    An attempt counts before its password is checked, so that parallel attempts count too.
    """

    def __init__(self, most: int, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._most = most
        self._clock = clock
        self._attempts: dict[bytes, list[float]] = {}
        """By hash, so that a long name costs no memory; the least recent first."""
        self._lock = threading.Lock()

    def attempt(self, user: str, address: str) -> None:
        """Count an attempt. Raises ApiError (429) if there were too many."""
        now = self._clock().timestamp()
        pair, *wider = keys = login_keys(user, address)
        with self._lock:
            self._sweep(now)
            over = any(len(self._recent(key, now)) >= self._most * WIDER for key in wider)
            if len(self._recent(pair, now)) >= (1 if over else self._most):
                raise too_many_logins()
            for key in keys:
                recent = self._recent(key, now)
                self._attempts.pop(key, None)  # to the end of the order
                self._attempts[key] = [*recent, now][-self._most * WIDER :]

    def succeeded(self, user: str, address: str) -> None:
        """Forget the last attempt, because it succeeded."""
        with self._lock:
            for key in login_keys(user, address):
                if attempts := self._attempts.get(key):
                    attempts.pop()

    def __len__(self) -> int:
        return len(self._attempts)

    def _sweep(self, now: float) -> None:
        while self._attempts:
            key = next(iter(self._attempts))
            if self._recent(key, now) and len(self._attempts) < _REMEMBERED:
                return
            del self._attempts[key]

    def _recent(self, key: bytes, now: float) -> list[float]:
        return [at for at in self._attempts.get(key, ()) if at > now - _MINUTE]


def too_many_logins() -> ApiError:
    """Return the error for an attempt above the limits."""
    return ApiError(429, "SYS.0429", "Too many failed logins: wait a minute and try again")


def login_keys(user: str, address: str) -> tuple[bytes, bytes, bytes]:
    """Return digests of both together, of the user, and of the address."""
    if ":" in address:
        address = address.rpartition("%")[0] or address
        address = str(ipaddress.ip_network(f"{address}/64", strict=False))  # one client has a whole /64
    names = (f"{user}\n{address}", f"user\n{user}", f"address\n{address}")
    return tuple(hashlib.blake2b(name.encode(), digest_size=16).digest() for name in names)  # type: ignore[return-value]


class HashingTurns:
    """Bounds concurrent password hashing, because each takes 64 MiB and a core; others wait in order.

    Use it in the event loop: a waiting login holds no worker thread.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_HASHING)
        self._waiting: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """Wait for a turn. Raises ApiError (429) if too many logins of `address` wait already."""
        if self._waiting[address] >= _WAITING:
            raise ApiError(429, "SYS.0429", "Too many logins at the same time: try again")
        self._waiting[address] += 1
        try:
            async with self._free:
                yield
        finally:
            self._waiting[address] -= 1
            self._waiting += Counter()  # drops the zeros
