"""The lifetimes that public CAs may issue, by date of issue, and how long they may reuse a validation of a name.

Sources: CA/Browser Forum ballots SC-081v3 and SC-022 (Baseline Requirements 6.3.2 and 4.2.1), and Let's Encrypt's
announcement of 2025-12-02 for its default profile.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

_LETS_ENCRYPT: Final = "Let's Encrypt"


class LifetimeRule(msgspec.Struct, frozen=True, kw_only=True):
    """The longest lifetime from one day of issue on."""

    since: datetime
    days: int
    reuse: timedelta
    """How long the CA may reuse a validation of a name."""
    issuer: str = ""
    """The organization of the only CA that it holds for; "" for all public CAs."""

    @property
    def whose(self) -> str:
        """The CAs that it holds for."""
        return self.issuer or "public CAs"


RULES: Final = (
    LifetimeRule(since=datetime(2020, 9, 1, tzinfo=UTC), days=398, reuse=timedelta(days=398)),
    LifetimeRule(since=datetime(2026, 3, 15, tzinfo=UTC), days=200, reuse=timedelta(days=200)),
    LifetimeRule(since=datetime(2027, 2, 10, tzinfo=UTC), days=64, reuse=timedelta(days=10), issuer=_LETS_ENCRYPT),
    LifetimeRule(since=datetime(2027, 3, 15, tzinfo=UTC), days=100, reuse=timedelta(days=100)),
    LifetimeRule(since=datetime(2028, 2, 16, tzinfo=UTC), days=45, reuse=timedelta(hours=7), issuer=_LETS_ENCRYPT),
    LifetimeRule(since=datetime(2029, 3, 15, tzinfo=UTC), days=47, reuse=timedelta(days=10)),
)
"""In the order of their dates."""


def rules_for(issuer: str, *, public: bool) -> tuple[LifetimeRule, ...]:
    """Return the rules for a certificate with this issuer (RFC 4514); none for one of a private CA."""
    return tuple(r for r in RULES if public and (not r.issuer or f"O={r.issuer}" in issuer))


def longest(rules: Iterable[LifetimeRule], at: datetime) -> int | None:
    """Return the most days for a certificate issued at `at`, or None if no rule holds then."""
    return min((r.days for r in rules if r.since <= at), default=None)


def limit_of_browsers(at: datetime) -> int | None:
    """Return the most days that browsers accept of a public certificate issued at `at`, or None if no rule holds."""
    return longest((r for r in RULES if not r.issuer), at)


def days_of(not_before: datetime, not_after: datetime) -> float:
    """Return a lifetime in days; the last second counts as valid (RFC 5280, 4.1.2.5)."""
    return (not_after - not_before + timedelta(seconds=1)) / timedelta(days=1)
