"""Whether a certificate will do: small pure checks at an instant, and the invariant.

``objection`` is the one gate before anything that is served changes: no action of ours replaces a
better certificate by a worse one. Callers: ``translate`` for Secrets and bindings, the controller's
fast path, the ELB for its ``certferry`` object. Nothing here knows where a certificate is used
beyond the hosts that it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from certferry.core.pem import Chain, covers, listed
from certferry.core.problems import Reason


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found; the sentence continues “the certificate …” on its own."""

    reason: Reason
    sentence: str


Check = Callable[[Chain, tuple[str, ...], datetime], Finding | None]


def loadable(chain: Chain, _hosts: tuple[str, ...], _now: datetime) -> Finding | None:
    """The data plane's TLS library takes the key."""
    if chain.loadable:
        return None
    return Finding(
        reason="CertificateUnusable",
        sentence=f"its key ({chain.key}) is not accepted by the load balancer; use RSA from 2048 bits or P-256",
    )


def not_expired(chain: Chain, _hosts: tuple[str, ...], now: datetime) -> Finding | None:
    """The end of validity is ahead."""
    if now < chain.not_after:
        return None
    return Finding(reason="CertificateExpired", sentence=f"it expired on {_instant(chain.not_after)}")


def started(chain: Chain, _hosts: tuple[str, ...], now: datetime) -> Finding | None:
    """The start of validity is past."""
    if chain.not_before <= now:
        return None
    return Finding(
        reason="CertificateNotYetValid", sentence=f"it is not valid before {_instant(chain.not_before)}"
    )


def covers_hosts(chain: Chain, hosts: tuple[str, ...], _now: datetime) -> Finding | None:
    """Each host is among the names."""
    missing = tuple(h for h in hosts if not covers(chain.names, h))
    if not missing:
        return None
    return Finding(
        reason="HostNotCovered",
        sentence=f"it is for {listed(chain.names) or 'no name'} and not for {listed(missing)}",
    )


CHECKS: tuple[Check, ...] = (loadable, not_expired, started, covers_hosts)


def findings(chain: Chain, hosts: tuple[str, ...], now: datetime) -> tuple[Finding, ...]:
    """Everything that is wrong with `chain` for `hosts` at `now`, gravest first."""
    return tuple(f for check in CHECKS if (f := check(chain, hosts, now)))


def valid(chain: Chain, now: datetime) -> bool:
    """Whether clients accept it at `now`, hosts aside."""
    return not any(check(chain, (), now) for check in (loadable, not_expired, started))


def objection(new: Chain, old: Chain | None, hosts: tuple[str, ...], now: datetime) -> Finding | None:
    """Why `new` must not take the place of `old` for `hosts`, or None when it may.

    The invariant: expired, not yet valid or broken never replaces valid, and no host that `old`
    serves validly is lost. Where `old` is no better, anything that can be loaded is served.
    """
    if unusable := loadable(new, (), now):
        return unusable
    if old is None or old.digest == new.digest or not valid(old, now):
        return None
    if finding := not_expired(new, (), now) or started(new, (), now):
        return finding
    served = tuple(h for h in hosts if covers(old.names, h))
    return covers_hosts(new, served, now)


def next_instant(chain: Chain, now: datetime) -> datetime | None:
    """When `chain` should be looked at again: the next edge of its validity."""
    ahead = [t + timedelta(seconds=1) for t in (chain.not_before, chain.not_after) if t >= now]
    return min(ahead, default=None)


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")
