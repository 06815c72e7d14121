"""Delays between attempts that fail: exponential, with a ceiling and without jitter."""

from __future__ import annotations

import asyncio


def delay_after(failures: int, first: float, longest: float) -> float:
    """Return the seconds to wait after `failures` (from 1) failures in a row: `first`, doubled each time."""
    return min(first * 2.0 ** min(failures - 1, 10), longest)


class Backoff:
    """Delays that grow by `factor` from `first` to `longest` seconds, and start over after ``reset``."""

    def __init__(self, first: float, longest: float, factor: float = 2.0) -> None:
        self._first, self._longest, self._factor = first, longest, factor
        self.delay = first
        """Seconds to wait before the next attempt."""

    def reset(self) -> None:
        """Start over with the first delay."""
        self.delay = self._first

    def advance(self, longest: float | None = None) -> float:
        """Return the current delay and make the next one longer, at most `longest` or the usual ceiling."""
        delay = self.delay
        self.delay = min(delay * self._factor, self._longest if longest is None else longest)
        return delay

    async def wait(self, longest: float | None = None) -> None:
        """Sleep for the current delay; see ``advance``."""
        await asyncio.sleep(self.advance(longest))
