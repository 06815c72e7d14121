"""Expiry states of a certificate, as shares of its lifetime.

Lifetimes of 200, 100, 47 and 6 days make a fixed number of days meaningless: with a third of the lifetime left, a
renewal is late.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec

State = Literal["good", "late", "urgent", "critical", "expired"]

_FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The start of each state: the share of the lifetime that is left, or a number of days if given."""

    late: float = 1 / 3
    urgent: float = 1 / 6
    critical: float = 1 / 20
    late_days: float | None = None
    urgent_days: float | None = None
    critical_days: float | None = None

    def of(self, life: timedelta) -> tuple[tuple[State, timedelta], ...]:
        """Return the time left at which each state begins for a lifetime, most severe first."""
        rows: tuple[tuple[State, float, float | None], ...] = (
            ("critical", self.critical, self.critical_days),
            ("urgent", self.urgent, self.urgent_days),
            ("late", self.late, self.late_days),
        )
        return tuple((s, life * share if d is None else timedelta(days=d)) for s, share, d in rows)


def shifted(instant: datetime, by: timedelta) -> datetime:
    """Return `instant` moved by `by`, capped at the ends of the calendar.

    RFC 5280 4.1.2.5 gives certificates without an end the date 9999-12-31T23:59:59Z.
    """
    try:
        return instant + by
    except OverflowError:
        return _LAST if by > timedelta(0) else _FIRST


def state(not_before: datetime, not_after: datetime, now: datetime, limits: Limits) -> State:
    """Return the state at `now`."""
    left = not_after - now
    if left <= timedelta(0):
        return "expired"
    return next((s for s, begins in limits.of(not_after - not_before) if left <= begins), "good")


def left(not_before: datetime, not_after: datetime, now: datetime) -> float:
    """Return the share of the lifetime that is left; negative after its end."""
    life = (not_after - not_before).total_seconds()
    return (not_after - now).total_seconds() / life if life > 0 else -1.0


def due(not_before: datetime, not_after: datetime, limits: Limits) -> datetime:
    """Return the instant from which a renewal is late."""
    return shifted(not_after, -max(begins for _, begins in limits.of(not_after - not_before)))


class Stall(msgspec.Struct, frozen=True, kw_only=True):
    """No rotation happened although several were due."""

    due: int
    since: datetime
    """The instant when the last of those that make it a stall became due."""


def stalled(
    lives: Iterable[tuple[datetime, datetime]],
    last_rotation: datetime | None,
    now: datetime,
    limits: Limits,
    least: int,
    stalled_after: timedelta,
) -> Stall | None:
    """Return a stall if `least` certificates in use are due and none was renewed since.

    `lives`: the validity of every certificate in use. A certificate that began to be valid after
    that moment is a renewal too: so the answer is the same after a restart.
    """
    everyone = list(lives)
    overdue = sorted(d for b, a in everyone if (d := due(b, a, limits)) <= now)
    if len(overdue) < least:
        return None
    since = overdue[least - 1]
    newest = max((*(b for b, _ in everyone), *([last_rotation] if last_rotation else [])))
    if newest >= since or now - since < stalled_after:
        return None
    return Stall(due=len(overdue), since=since)
