"""How values are said on pages: dates, spans, fingerprints, expiry. Pure; the templates' filters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from certferry.core.x509.pem import Chain

SOON: Final = timedelta(days=30)
VERY_SOON: Final = timedelta(days=7)


class Badge(NamedTuple):
    """A word and how grave it is: good, warn, bad, idle or busy; `hint` says it in full."""

    level: str
    word: str
    hint: str = ""


def expiry(chain: Chain | None, now: datetime | None = None) -> Badge:
    """When a certificate ends, counted from `now`."""
    if chain is None:
        return Badge("idle", "—", "No certificate that can be read.")
    return until(chain.not_after, chain.not_before, now)


def until(end: datetime, start: datetime | None = None, now: datetime | None = None) -> Badge:
    """The same of two instants."""
    now = now or datetime.now(UTC)
    hint = f"Valid until {instant(end)}"
    if end <= now:
        return Badge("bad", f"Expired {span(now - end)} ago", f"Expired on {instant(end)}")
    if start and start > now:
        return Badge("warn", f"Valid in {span(start - now)}", f"Not valid before {instant(start)}")
    left = end - now
    level = "bad" if left < VERY_SOON else "warn" if left < SOON else "good"
    return Badge(level, f"{span(left)} left", hint)


def instant(at: datetime | None) -> str:
    """A date and time, to the minute."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if at else "—"


def clock(at: datetime | None) -> str:
    """The time of day, to the millisecond."""
    return at.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3] if at else "—"


def age(at: datetime, now: datetime | None = None) -> str:
    """How long ago."""
    return span((now or datetime.now(UTC)) - at)


def span(length: timedelta) -> str:
    """A length of time in one unit, rounded down: ``5 days``."""
    seconds = max(0, int(length.total_seconds()))
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "0 seconds"


def fingerprint(hexadecimal: str) -> str:
    """The first bytes, enough to compare by eye; the whole stands in the title."""
    return ":".join(hexadecimal[i : i + 2] for i in range(0, min(16, len(hexadecimal)), 2)).upper()


def common(issuer: str) -> str:
    """The name in an RFC 4514 text that people know it by."""
    parts = [p.strip() for p in issuer.split(",")]
    return next((p[3:] for p in parts if p.startswith("CN=")), issuer)
