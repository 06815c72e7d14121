"""Handshakes at a time: a few with each listener, so that one that is dead holds up no other.

A listener may have a thousand names. If its port is closed for one of them, the others need no handshake.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from certferry.core.x509.pem import Chain
from certferry.runtime.tls_probe import HANDSHAKE_TIMEOUT, ProbeResult, Target, Unreachable, probe_once

PARALLEL: Final = 4
"""Handshakes with one listener at a time."""
FRESH: Final = 0.5
"""Seconds for which a closed port counts as closed."""


class ProbeLimiter:
    """Every address and port that was looked at."""

    def __init__(self) -> None:
        self._limits: dict[tuple[str, int], _EndpointLimit] = {}

    async def probe(self, target: Target, chain: Chain, seconds: float = HANDSHAKE_TIMEOUT) -> ProbeResult:
        """Return the result of one handshake, or of one that has just found the port closed."""
        door = self._limits.setdefault((target.address, target.port), _EndpointLimit())
        async with door.turn:
            if door.closed and time.monotonic() - door.at < FRESH:
                return door.closed
            sight = await probe_once(target, chain, seconds)
            door.closed = sight if isinstance(sight, Unreachable) else None
            door.at = time.monotonic()
        return sight


class _EndpointLimit:
    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(PARALLEL)
        self.closed: Unreachable | None = None
        self.at = 0.0
        """When that was seen."""
