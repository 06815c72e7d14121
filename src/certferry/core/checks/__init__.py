"""Check certificates: small pure checks at an instant, the policy, and the invariant.

``objection`` is the invariant: no action of ours replaces a better certificate by a worse one, and no policy allows
that. ``refusal`` is the invariant, then the policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from certferry.core.checks import chain as bundle
from certferry.core.checks import leaf, path
from certferry.core.checks import usage as place
from certferry.core.checks.check import Check, CheckInput, Finding, Severity
from certferry.core.checks.policy import DEFAULT, Action, CheckPolicy
from certferry.core.x509.expiry import shifted
from certferry.core.x509.pem import Chain, covers

CHECKS: Final[tuple[Check, ...]] = (
    leaf.pair,
    leaf.loadable,
    leaf.not_expired,
    leaf.started,
    place.covers_hosts,
    leaf.uncompromised,
    leaf.usage,
    leaf.signature,
    path.critical,
    bundle.linked,
    path.permitted,
    bundle.members_valid,
    bundle.members_strong,
    bundle.complete,
    bundle.ordered,
    bundle.short,
    leaf.named,
    leaf.wildcards,
    leaf.clock_skew,
    leaf.key_common,
    leaf.lifetime,
    place.names_kept,
    place.key_fresh,
    place.key_type_kept,
    place.client_use_kept,
    place.names_free,
    place.names_used,
)
"""In the order in which findings are reported."""

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
NO_MARKS: Final[Set[str]] = frozenset()


def findings(
    chain: Chain,
    before: Chain | None,
    hosts: tuple[str, ...],
    now: datetime,
    policy: CheckPolicy = DEFAULT,
    *,
    taken: Mapping[str, str] = NOTHING,
    unused: tuple[str, ...] = (),
    key: str | None = None,
    compromised: Set[str] = NO_MARKS,
) -> tuple[Finding, ...]:
    """Return all findings for `chain` as a replacement for `before`, for `hosts` at `now`, most severe first.

    `taken`, `unused`, `key` and `compromised`: see ``CheckInput``. Findings that `policy` switches off are omitted.
    """
    case = CheckInput(
        chain=chain,
        before=before,
        hosts=hosts,
        now=now,
        skew=timedelta(seconds=policy.skew),
        taken=taken,
        unused=unused,
        key=key,
        compromised=compromised,
    )
    results = [f for check in CHECKS if (f := check(case)) and (f := policy.applied(f))]
    return tuple(sorted(results, key=lambda f: ("refuse", "warn", "info").index(f.severity)))


def valid(chain: Chain, now: datetime) -> bool:
    """Return whether clients accept it at `now`, hosts aside."""
    case = CheckInput(chain=chain, now=now)
    return not any(check(case) for check in (leaf.loadable, leaf.not_expired, leaf.started))


def expired(chain: Chain, now: datetime) -> Finding | None:
    """Return the finding that it expired, or None."""
    return leaf.not_expired(CheckInput(chain=chain, now=now))


def compromised(chain: Chain, marked: Set[str]) -> Finding | None:
    """Return the finding that its key is among the `marked` ones (``Chain.spki``), or None."""
    return leaf.uncompromised(CheckInput(chain=chain, now=chain.not_before, compromised=marked))


def objection(
    new: Chain, old: Chain | None, hosts: tuple[str, ...], now: datetime, compromised: Set[str] = NO_MARKS
) -> Finding | None:
    """Return why `new` must not replace `old` for `hosts`, or None if it may.

    The invariant: expired, not yet valid or broken never replaces valid, and no host that `old` serves validly is
    lost. A `compromised` key (``Chain.spki``) replaces no other one that is as good. If `old` is no better, any
    certificate that can be loaded is served.
    """
    case = CheckInput(chain=new, now=now, compromised=compromised)
    if unusable := leaf.loadable(case):
        return unusable
    if old is None or old.digest == new.digest:
        return None
    if marked := leaf.uncompromised(case):
        better = old.loadable and old.spki not in compromised and _no_worse(old, new, hosts, now)
        if better:
            return marked
    if not valid(old, now):
        return None
    if finding := leaf.not_expired(case) or leaf.started(case):
        return finding
    served = tuple(h for h in hosts if covers(old.names, h))
    return place.covers_hosts(CheckInput(chain=new, now=now, hosts=served))


def _no_worse(old: Chain, new: Chain, hosts: tuple[str, ...], now: datetime) -> bool:
    """Return whether `old` serves one of `hosts`, and is valid or no less valid than `new`; keys aside."""
    serves = not hosts or any(covers(old.names, h) for h in hosts) or not any(covers(new.names, h) for h in hosts)
    return serves and (valid(old, now) or not valid(new, now))


def refusal(
    new: Chain,
    old: Chain | None,
    hosts: tuple[str, ...],
    now: datetime,
    policy: CheckPolicy = DEFAULT,
    compromised: Set[str] = NO_MARKS,
) -> Finding | None:
    """Return why `new` is rejected as a replacement for `old`: by the invariant, then by `policy`.

    A policy protects the certificate in service. If that is not valid either, or has the same defect, `new` is no worse
    and is accepted.
    """
    if broken := objection(new, old, hosts, now, compromised):
        return broken
    if old is None or old.digest == new.digest or not valid(old, now):
        return None
    refused = [f for f in findings(new, old, hosts, now, policy) if f.severity == "refuse"]
    if not refused:
        return None
    same = {f.reason for f in findings(old, None, hosts, now, policy)}
    return next((f for f in refused if f.reason not in same), None)


def next_instant(chain: Chain, now: datetime, policy: CheckPolicy = DEFAULT) -> datetime | None:
    """Return when to check `chain` again: the next edge of its validity, with and without the skew."""
    skew = timedelta(seconds=policy.skew)
    begins, ends = chain.not_before, chain.not_after
    edges = (begins, shifted(begins, skew), shifted(ends, -skew), ends)
    return min((shifted(t, timedelta(seconds=1)) for t in edges if t >= now), default=None)


__all__ = [
    "CHECKS",
    "DEFAULT",
    "NO_MARKS",
    "Action",
    "CheckInput",
    "CheckPolicy",
    "Finding",
    "Severity",
    "compromised",
    "expired",
    "findings",
    "next_instant",
    "objection",
    "refusal",
    "valid",
]
