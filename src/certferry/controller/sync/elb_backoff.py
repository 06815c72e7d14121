"""Delays before the next attempt at the ELB: longer after each failure, never shorter than the ELB demands.

Called by the loop; it knows no work. A change in the cluster is no reason to hurry an ELB that asked
to be left alone.
"""

from __future__ import annotations

import time
from typing import Final

from certferry.elb.client.client import ElbError
from certferry.runtime.backoff import delay_after

UNREACHED: Final = (0.1, 0.5)
"""Seconds until the next attempt while the ELB's address refuses connections: the first, the longest."""
FAILED: Final = (0.1, 5.0)
"""The same after a time-out or a 5xx: asking again costs the ELB something."""
THROTTLED: Final = (1.0, 30.0)
"""The same after a 429 that does not say how long."""
REFUSED: Final = (1.0, 60.0)
"""The same after a refusal, which only a change heals."""


class ElbBackoff:
    """Failures in a row, and until when to leave the ELB alone."""

    def __init__(self) -> None:
        self._failing = 0
        self._not_before = 0.0

    @property
    def remaining(self) -> float:
        """Seconds until the next request is allowed, whatever changes."""
        return max(0.0, self._not_before - time.monotonic())

    def reset(self) -> None:
        """Start over after a success."""
        self._failing = 0

    def refused(self) -> float:
        """Return the seconds until the next attempt after a rejected step, unless something changes."""
        self._failing += 1
        return delay_after(self._failing, *REFUSED)

    def failed(self, error: ElbError) -> float:
        """Return the seconds until the next attempt after an ELB that did not answer."""
        self._failing += 1
        if error.status == 429:
            pause = max(delay_after(self._failing, *THROTTLED), error.retry_after)
        else:
            limits = UNREACHED if error.code == "Unreachable" else FAILED
            pause = max(delay_after(self._failing, *limits), error.retry_after)
        if error.status == 429 or error.retry_after:
            self._not_before = time.monotonic() + pause
        return pause
