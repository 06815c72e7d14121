"""Timeline of expiry: one dot per certificate over the coming year, as numbers for an SVG. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from certferry.console.web.formatting import level
from certferry.core.x509.expiry import Limits

WIDTH: Final = 1000
LEFT: Final = 70
"""X of now; expired certificates are left of it."""
BASE: Final = 96
STEP: Final = 9
HIGH: Final = 9
"""Most dots of a column; the others are counted."""
SPAN: Final = timedelta(days=365)
SLOTS: Final = 90
_LIMITS: Final = Limits()


class Dot(NamedTuple):
    """The expiry of a certificate, as a row of the timeline."""

    x: float
    y: float
    level: str
    title: str


class Mark(NamedTuple):
    """A label at an x position."""

    x: float
    label: str


class Timeline(NamedTuple):
    """The drawing."""

    dots: list[Dot]
    marks: list[Mark]
    more: list[Mark]
    """Counts of dots that did not fit, above their column."""
    description: str
    """The same in words, for screen readers."""


def draw(lives: Iterable[tuple[datetime, datetime, str]], now: datetime, limits: Limits = _LIMITS) -> Timeline:
    """Draw the ends of `lives`: (end, start, title)."""
    columns: dict[int, list[tuple[datetime, str, str]]] = {}
    counts = {"bad": 0, "warn": 0, "good": 0}
    for end, start, title in sorted(lives):
        severity = level(start, end, now, limits)
        columns.setdefault(_slot(end, now), []).append((end, severity, title))
        counts[severity] += 1
    dots, more = [], []
    for slot, entries in sorted(columns.items()):
        x = _x(slot)
        for number, (end, severity, title) in enumerate(entries[:HIGH]):
            dots.append(Dot(x, BASE - 8 - number * STEP, severity, f"{title}: {end:%Y-%m-%d}"))
        if len(entries) > HIGH:
            more.append(Mark(x, f"+{len(entries) - HIGH}"))
    description = (
        f"{counts['bad']} certificates have expired or are about to expire, "
        f"the renewal of {counts['warn']} is late, {counts['good']} are in order."
    )
    return Timeline(dots, _months(now), more, description)


def _slot(end: datetime, now: datetime) -> int:
    if end <= now:
        return -1
    return min(SLOTS, int((end - now) / SPAN * SLOTS))


def _x(slot: int) -> float:
    return round(LEFT - 30 if slot < 0 else LEFT + slot * (WIDTH - LEFT - 20) / SLOTS, 1)


def _months(now: datetime) -> list[Mark]:
    marks = []
    year, month = now.year, now.month
    for _ in range(12):
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        at = datetime(year, month, 1, tzinfo=now.tzinfo)
        if at - now < SPAN:
            x = LEFT + (at - now) / SPAN * (WIDTH - LEFT - 20)
            marks.append(Mark(round(x, 1), f"{at:%b %Y}" if month == 1 else f"{at:%b}"))
    return marks
