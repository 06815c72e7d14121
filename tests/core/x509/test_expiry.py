"""States by the share of life left, and the stall, at fixed instants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from certferry.core.x509 import expiry
from certferry.core.x509.expiry import Limits

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("days", [6, 47, 100, 200, 398])
@pytest.mark.parametrize(
    ("share", "state"),
    [
        (0.9, "good"),
        (0.334, "good"),
        (0.333, "late"),
        (0.167, "late"),
        (0.166, "urgent"),
        (0.051, "urgent"),
        (0.05, "critical"),
        (0.0001, "critical"),
        (0, "expired"),
        (-1, "expired"),
    ],
)
def test_the_state_depends_on_the_share_and_not_on_days(days: int, share: float, state: str) -> None:
    end = START + timedelta(days=days)
    assert expiry.state(START, end, end - share * (end - START), Limits()) == state


def test_days_win_if_they_are_set() -> None:
    limits, end = Limits(late_days=30, urgent_days=14, critical_days=3), START + timedelta(days=90)
    states = [expiry.state(START, end, end - timedelta(days=d), limits) for d in (31, 30, 14, 3)]
    assert states == ["good", "late", "urgent", "critical"]


def life(begun: float, days: float = 90) -> tuple[datetime, datetime]:
    """A validity that began so many days ago, seen from day 1000."""
    start = START + timedelta(days=1000 - begun)
    return start, start + timedelta(days=days)


NOW = START + timedelta(days=1000)
DUE, FRESH = life(begun=62), life(begun=30)
"""Late since two days; not late."""


def stall(*lives: tuple[datetime, datetime], last: datetime | None = None) -> expiry.Stall | None:
    return expiry.stalled(lives, last, NOW, Limits(), least=3, stalled_after=timedelta(days=1))


def test_overdue_renewals_are_a_stall() -> None:
    found = stall(DUE, DUE, DUE, FRESH)
    assert found is not None
    assert found.due == 3
    assert found.since == NOW - timedelta(days=2)


def test_two_overdue_or_three_due_today_are_no_stall() -> None:
    assert stall(DUE, DUE, FRESH) is None
    assert stall(DUE, DUE, life(begun=60.5)) is None


def test_one_renewal_since_shows_that_rotation_works() -> None:
    assert stall(DUE, DUE, DUE, life(begun=1)) is None
    assert stall(DUE, DUE, DUE, last=NOW - timedelta(hours=1)) is None
    assert stall(DUE, DUE, DUE, last=NOW - timedelta(days=10)) is not None
