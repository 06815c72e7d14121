"""Values as text: dates, spans, fingerprints, expiry. Pure; the filters of the templates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from certferry.core.plural import counted
from certferry.core.x509.expiry import Limits, State, state
from certferry.core.x509.pem import Chain

_LEVELS: Final[Mapping[State, str]] = {
    "good": "good",
    "late": "warn",
    "urgent": "warn",
    "critical": "bad",
    "expired": "bad",
}
_LIMITS: Final = Limits()


class Badge(NamedTuple):
    """A word with its level (good, warn, bad, idle or busy); `hint` explains it."""

    level: str
    word: str
    hint: str = ""


def expiry(chain: Chain | None, now: datetime | None = None, limits: Limits = _LIMITS) -> Badge:
    """Return the time that a certificate is still valid, counted from `now`; its level is the expiry state's."""
    if chain is None:
        return Badge("idle", "—", "The certificate cannot be read.")
    return until(chain.not_after, chain.not_before, now, limits)


def until(end: datetime, start: datetime, now: datetime | None = None, limits: Limits = _LIMITS) -> Badge:
    """Return the time until `end`, or until `start` if that is in the future."""
    now = now or datetime.now(UTC)
    if end <= now:
        return Badge("bad", f"Expired {span(now - end)} ago", f"Expired on {instant(end)}")
    if start > now:
        return Badge("warn", f"Valid in {span(start - now)}", f"Not valid before {instant(start)}")
    return Badge(level(start, end, now, limits), f"{span(end - now)} left", f"Valid until {instant(end)}")


def level(start: datetime, end: datetime, now: datetime, limits: Limits) -> str:
    """Return the level of the expiry state that the alerts use too: good, warn or bad."""
    return _LEVELS[state(start, end, now, limits)]


def instant(at: datetime | None) -> str:
    """Format a date and time to the minute, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if at else "—"


def clock(at: datetime | None) -> str:
    """Format the time of day to the millisecond, in UTC."""
    return at.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3] if at else "—"


def age(at: datetime, now: datetime | None = None) -> str:
    """Return the time since `at`."""
    return span((now or datetime.now(UTC)) - at)


def ago(at: datetime, now: datetime | None = None) -> str:
    """Return how long ago `at` was, or in how long it will be."""
    passed = (now or datetime.now(UTC)) - at
    return f"{span(passed)} ago" if passed >= timedelta() else f"in {span(-passed)}"


def span(length: timedelta) -> str:
    """Format a length of time in one unit, rounded down: ``5 days``."""
    seconds = max(0, int(length.total_seconds()))
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            return counted(seconds // size, unit)
    return "0 seconds"


def fingerprint(hexadecimal: str) -> str:
    """Return the first 8 bytes as ``AB:CD:…``."""
    return ":".join(hexadecimal[i : i + 2] for i in range(0, min(16, len(hexadecimal)), 2)).upper()


def common_name(issuer: str) -> str:
    """Return the common name in an RFC 4514 name; the whole name if it has none."""
    parts = [p.strip() for p in issuer.split(",")]
    return next((p[3:] for p in parts if p.startswith("CN=")), issuer)
