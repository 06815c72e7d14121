"""Debounce of changes: act after a short quiet time, and never later than a ceiling.

The loop waits on it. A change that was dealt with already (by the fast path) is only worth a later
look: it must not hold up the next one.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

LATER: Final = 25
"""How many times longer both waits are for what can wait."""
REST: Final = 50
"""A reconcile that can wait begins after a pause of so many times the duration of the last one.

A full reconcile follows each burst of rotations. So it takes at most a fiftieth of the time.
"""
LONGEST_REST: Final = 30.0
"""The longest such pause, in seconds."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds."""

    debounce: float
    debounce_max: float
    resync: float
    """How often the ELB is looked at without a reason: what others change there is repaired within it."""
    deletion_delay: float = 30.0
    """How long a certificate or a load balancer has to be unused before it is deleted."""
    probe_deadline: float = 10.0
    """How long a changed certificate may take until a client sees it."""


class Debouncer:
    """Collects pokes; ``turn`` returns when it is time."""

    def __init__(self, waits: Timing) -> None:
        self._waits = waits
        self._poked = asyncio.Event()
        self._soon = False
        self._rest_until = 0.0

    def rest_after(self, duration: float) -> None:
        """Begin the pause after a reconcile that took `duration` seconds."""
        self._rest_until = asyncio.get_running_loop().time() + min(REST * duration, LONGEST_REST)

    def trigger(self) -> None:
        """Something changed."""
        self._soon = True
        self._poked.set()

    def trigger_later(self) -> None:
        """Something changed that is dealt with; look at the whole when it is quiet."""
        self._poked.set()

    async def wait(self, longest: float | None = None) -> None:
        """Wait for pokes and then for quiet; at most until the resync (or `longest`) is due."""
        clock = asyncio.get_running_loop().time
        due = clock() + (self._waits.resync if longest is None else longest)
        if not await self._poke_before(due):
            return
        first = clock()
        while True:
            factor = 1 if self._soon else LATER
            quiet = clock() + self._waits.debounce * factor
            end = min(quiet, first + self._waits.debounce_max * factor)
            if not self._soon:
                end = max(end, self._rest_until)
            self._poked.clear()
            if not await self._poke_before(min(end, due)):
                break
        self._soon = False
        self._poked.clear()

    async def _poke_before(self, instant: float) -> bool:
        try:
            async with asyncio.timeout_at(instant):
                await self._poked.wait()
        except TimeoutError:
            return False
        return True
