"""Checks of a certificate in its place: the hosts it serves, the one before it, and its neighbours."""

from __future__ import annotations

from certferry.core.checks.check import CheckInput, Finding
from certferry.core.x509.pem import covers, listed


def covers_hosts(case: CheckInput) -> Finding | None:
    """Each host is among the names."""
    missing = tuple(h for h in case.hosts if not covers(case.chain.names, h))
    if not missing:
        return None
    return Finding(
        reason="HostNotCovered",
        sentence=f"it is for {listed(case.chain.names) or 'no name'} and not for {listed(missing)}",
    )


def names_kept(case: CheckInput) -> Finding | None:
    """It has every name of the one before, also those that no Ingress asks for."""
    before = case.before
    if before is None or before.digest == case.chain.digest:
        return None
    lost = tuple(n for n in before.names if not covers(case.chain.names, n))
    if not lost:
        return None
    return Finding(
        reason="NamesRemoved", severity="warn", sentence=f"it no longer has the name {listed(lost)}"
    )


def key_fresh(case: CheckInput) -> Finding | None:
    """A renewal has a key of its own: who got hold of the old one must not have the new one too."""
    before = case.before
    if before is None or before.fingerprint == case.chain.fingerprint or before.spki != case.chain.spki:
        return None
    return Finding(
        reason="KeyReused",
        severity="warn",
        sentence="it has the same key as the one before: a short life protects only with a new key",
    )


def names_free(case: CheckInput) -> Finding | None:
    """No other certificate of the listener answers for a name that it is there for."""
    taken = tuple(sorted(n for n in case.taken if covers(case.chain.names, n)))
    if not taken:
        return None
    text = f"{listed(taken)} has certificate {case.taken[taken[0]]} on the same listener already"
    return Finding(reason="SniConflict", severity="warn", sentence=text)
