"""How near its end a certificate is, as a share of its own life.

Lives of 200, 100, 47 and 6 days make a number of days meaningless: a third of the life left means
that the renewal is late, whatever the life. Alerts, metrics, console and command line call this.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

State = Literal["good", "late", "urgent", "emergency", "expired"]
STATES: Final[tuple[State, ...]] = ("good", "late", "urgent", "emergency", "expired")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """When each state begins: at most so much of its life is left, or so many days where those are given."""

    late: float = 1 / 3
    urgent: float = 1 / 6
    emergency: float = 1 / 20
    late_days: float | None = None
    urgent_days: float | None = None
    emergency_days: float | None = None

    def of(self, life: timedelta) -> tuple[tuple[State, timedelta], ...]:
        """The time left at which each state begins for a certificate of this life, the gravest first."""
        rows: tuple[tuple[State, float, float | None], ...] = (
            ("emergency", self.emergency, self.emergency_days),
            ("urgent", self.urgent, self.urgent_days),
            ("late", self.late, self.late_days),
        )
        return tuple((s, life * share if d is None else timedelta(days=d)) for s, share, d in rows)


def state(not_before: datetime, not_after: datetime, now: datetime, limits: Limits) -> State:
    """How near the end it is at `now`."""
    left = not_after - now
    if left <= timedelta(0):
        return "expired"
    return next((s for s, begins in limits.of(not_after - not_before) if left <= begins), "good")


def left(not_before: datetime, not_after: datetime, now: datetime) -> float:
    """The share of its life that is left; negative once it is over."""
    life = (not_after - not_before).total_seconds()
    return (not_after - now).total_seconds() / life if life > 0 else -1.0


def due(not_before: datetime, not_after: datetime, limits: Limits) -> datetime:
    """Since when a renewal is late."""
    return not_after - max(begins for _, begins in limits.of(not_after - not_before))


class Stall(msgspec.Struct, frozen=True, kw_only=True):
    """No rotation happened although several were due."""

    due: int
    since: datetime
    """When the last of those that make it a stall became due."""


def stalled(
    lives: Iterable[tuple[datetime, datetime]],
    last_rotation: datetime | None,
    now: datetime,
    limits: Limits,
    least: int,
    patience: timedelta,
) -> Stall | None:
    """Whether rotation itself has stopped: `least` certificates in use are due, and none was renewed since.

    `lives`: the validity of every certificate in use. A certificate that began to be valid after
    that moment is a renewal too: so the answer is the same after a restart.
    """
    everyone = list(lives)
    overdue = sorted(d for b, a in everyone if (d := due(b, a, limits)) <= now)
    if len(overdue) < least:
        return None
    since = overdue[least - 1]
    newest = max((*(b for b, _ in everyone), *([last_rotation] if last_rotation else [])))
    if newest >= since or now - since < patience:
        return None
    return Stall(due=len(overdue), since=since)
