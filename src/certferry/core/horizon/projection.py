"""The projection of renewals: which renewals come on which day, and what each date of ``lifetimes.RULES`` changes.

It assumes that each renewal happens when it is due. The new certificate has the lifetime of the present one, or the
longest that its CA may then issue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Final

import msgspec

from certferry.core.diagnosis.inventory import CertificateInfo
from certferry.core.horizon.renewal import Renewal, next_renewal
from certferry.core.plural import counted
from certferry.core.x509 import expiry, lifetimes
from certferry.core.x509.expiry import Limits
from certferry.core.x509.lifetimes import LifetimeRule

AFTER_LAST_RULE: Final = timedelta(days=365)
"""How far a projection reaches beyond the last rule, or beyond now if that is later."""
_LEAST_SHARE: Final = 1 / 3
"""The part of a lifetime after which the next renewal comes at the earliest, whatever the limits say."""


class LifetimeStep(msgspec.Struct, frozen=True, kw_only=True):
    """A shorter lifetime of one certificate."""

    since: datetime
    """The date of the rule."""
    first: datetime
    """The first renewal under it."""
    days: int
    before: int
    """Days of the lifetime until then."""
    every: float
    """Days between two renewals from then on."""


class CertificateProjection(msgspec.Struct, frozen=True, kw_only=True):
    """The renewals of one certificate."""

    renewal: Renewal
    days: int
    """Its present lifetime, rounded up."""
    rules: tuple[LifetimeRule, ...]
    """The rules that bind its CA; none if it is private."""
    renewals: tuple[datetime, ...]
    steps: tuple[LifetimeStep, ...]


class RuleEffect(msgspec.Struct, frozen=True, kw_only=True):
    """The effect of one rule on the certificates."""

    rule: LifetimeRule
    in_force: bool
    certificates: int
    """Certificates whose CA it binds."""
    shorter: int
    """Those of them that get a shorter lifetime by it."""
    by_hand: int
    """Those of `shorter` that a person renews."""
    longer_lived: int
    """Those of `certificates` that live longer at present than the rule allows."""

    @property
    def validation(self) -> str:
        """A sentence: how often names are validated."""
        reuse, between = self.rule.reuse, timedelta(days=self.rule.days * 2 / 3)
        if reuse >= between:
            return f"A validation serves renewals for {_span(reuse)}."
        again = ", also one that is tried again the next day" if reuse < timedelta(days=1) else ""
        return f"A validation serves for {_span(reuse)}: each renewal validates all names anew{again}."


class LoadPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """The renewals between two dates."""

    begin: date
    end: date
    """The first day after it."""
    renewals: int
    by_hand: int
    busiest: date | None
    """The day with the most renewals; None if there is none."""
    most: int

    @property
    def per_day(self) -> float:
        """The mean number of renewals of a day."""
        return self.renewals / ((self.end - self.begin).days or 1)


class Horizon(msgspec.Struct, frozen=True, kw_only=True):
    """The projected renewals of all certificates in use."""

    at: datetime
    until: datetime
    certificates: tuple[CertificateProjection, ...]
    """The first that is due comes first."""
    rules: tuple[RuleEffect, ...]
    periods: tuple[LoadPeriod, ...]
    days: tuple[tuple[date, int], ...]
    """The number of renewals of each day that has one."""

    @property
    def failing(self) -> tuple[Renewal, ...]:
        """The renewals that would not reach clients today."""
        return tuple(c.renewal for c in self.certificates if c.renewal.obstacle)


def horizon_of(certificates: Iterable[CertificateInfo], now: datetime, limits: Limits) -> Horizon:
    """Return the projected renewals of those of `certificates` that are in use and on the ELB."""
    until = max(lifetimes.RULES[-1].since, now) + AFTER_LAST_RULE
    mine = [_projection(c, now, until, limits) for c in certificates if c.used and c.origin]
    mine.sort(key=lambda c: (c.renewal.due, c.renewal.certificate.id))
    return Horizon(
        at=now,
        until=until,
        certificates=tuple(mine),
        rules=tuple(_effect(rule, mine, now) for rule in lifetimes.RULES if rule.since.year >= 2026),
        periods=tuple(_periods(mine, now, until)),
        days=tuple(sorted(Counter(at.date() for c in mine for at in c.renewals).items())),
    )


def _projection(certificate: CertificateInfo, now: datetime, until: datetime, limits: Limits) -> CertificateProjection:
    chain = certificate.origin.certificate.chain if certificate.origin else None
    rules = lifetimes.rules_for(chain.issuer, public=chain.purpose.public) if chain else ()
    days = max(1, round(lifetimes.days_of(certificate.not_before, certificate.not_after)))
    renewal = next_renewal(certificate, now, limits)
    renewals: list[datetime] = []
    steps: list[LifetimeStep] = []
    at, life = max(renewal.due, now), days
    while at < until:
        renewals.append(at)
        longest = lifetimes.longest(rules, at)
        before, life = life, life if longest is None else min(life, longest)
        following = _next(at, life, limits)
        if life < before:
            since = max(r.since for r in rules if r.days == longest and r.since <= at)
            every = (following - at) / timedelta(days=1)
            steps.append(LifetimeStep(since=since, first=at, days=life, before=before, every=every))
        at = following
    return CertificateProjection(renewal=renewal, days=days, rules=rules, renewals=tuple(renewals), steps=tuple(steps))


def _next(at: datetime, days: int, limits: Limits) -> datetime:
    life = timedelta(days=days)
    return max(expiry.due(at, at + life, limits), at + life * _LEAST_SHARE)


def _effect(rule: LifetimeRule, certificates: Sequence[CertificateProjection], now: datetime) -> RuleEffect:
    bound = [c for c in certificates if rule in c.rules]
    shorter = [c for c in bound if any(s.since == rule.since for s in c.steps)]
    return RuleEffect(
        rule=rule,
        in_force=rule.since <= now,
        certificates=len(bound),
        shorter=len(shorter),
        by_hand=sum(c.renewal.renewer == "hand" for c in shorter),
        longer_lived=sum(c.days > rule.days for c in bound),
    )


def _periods(certificates: Sequence[CertificateProjection], now: datetime, until: datetime) -> Iterator[LoadPeriod]:
    edges = [now.date(), *(r.since.date() for r in lifetimes.RULES if now < r.since < until), until.date()]
    days = sorted((at.date(), c.renewal.renewer == "hand") for c in certificates for at in c.renewals)
    for begin, end in pairwise(edges):
        mine = [(day, hand) for day, hand in days if begin <= day < end]
        by_day = Counter(day for day, _ in mine)
        busiest = max(sorted(by_day), key=lambda day: by_day[day], default=None)
        yield LoadPeriod(
            begin=begin,
            end=end,
            renewals=len(mine),
            by_hand=sum(hand for _, hand in mine),
            busiest=busiest,
            most=by_day[busiest] if busiest else 0,
        )


def _span(span: timedelta) -> str:
    return counted(span.days, "day") if span >= timedelta(days=1) else counted(span.seconds // 3600, "hour")
