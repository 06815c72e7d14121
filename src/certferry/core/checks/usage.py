"""Checks of a certificate against its hosts, its predecessor and the other certificates of its listener."""

from __future__ import annotations

from certferry.core.checks.check import CheckInput, Finding
from certferry.core.x509.pem import covers, listed


def covers_hosts(case: CheckInput) -> Finding | None:
    """Require a name for each host."""
    missing = tuple(h for h in case.hosts if not covers(case.chain.names, h))
    if not missing:
        return None
    return Finding(
        reason="HostNotCovered",
        sentence=f"it is for {listed(case.chain.names) or 'no name'} and not for {listed(missing)}",
    )


def names_kept(case: CheckInput) -> Finding | None:
    """Require every name of its predecessor, also names that no Ingress claims."""
    before = case.before
    if before is None or before.digest == case.chain.digest:
        return None
    lost = tuple(n for n in before.names if not covers(case.chain.names, n))
    if not lost:
        return None
    return Finding(reason="NamesRemoved", severity="warn", sentence=f"it no longer has the name {listed(lost)}")


def key_fresh(case: CheckInput) -> Finding | None:
    """Require a new key for a renewal: a stolen old key must not be valid any longer."""
    before = case.before
    if before is None or before.fingerprint == case.chain.fingerprint or before.spki != case.chain.spki:
        return None
    return Finding(
        reason="KeyReused",
        severity="warn",
        sentence="it has the same key as the one before: a short life protects only with a new key",
    )


def key_type_kept(case: CheckInput) -> Finding | None:
    """Require an RSA key after an RSA key: old clients support no other."""
    before = case.before
    if before is None or not before.key.startswith("RSA-") or case.chain.key.startswith("RSA-"):
        return None
    return Finding(
        reason="KeyTypeChanged",
        severity="warn",
        sentence=f"its key is {case.chain.key} and the one before had {before.key}: clients that support only RSA fail, "
        "unless another certificate with an RSA key has the same names",
    )


def client_use_kept(case: CheckInput) -> Finding | None:
    """Require client authentication after a certificate that has it: a backend with mutual TLS may need it."""
    before = case.before
    if before is None or not before.purpose.client or case.chain.purpose.client:
        return None
    return Finding(
        reason="ClientAuthRemoved",
        severity="info",
        sentence="it cannot be a client's certificate, as the one before can: public CAs issue none for both uses any more",
    )


def names_used(case: CheckInput) -> Finding | None:
    """Require that a listener uses each name: a stolen key is good for all of them."""
    if not case.unused:
        return None
    text = f"no listener uses it for {listed(tuple(sorted(case.unused)))}"
    return Finding(reason="NamesUnused", severity="info", sentence=text)


def names_free(case: CheckInput) -> Finding | None:
    """Require names that no other certificate of the listener answers for."""
    taken = tuple(sorted(n for n in case.taken if covers(case.chain.names, n)))
    if not taken:
        return None
    text = f"{listed(taken)} has certificate {case.taken[taken[0]]} on the same listener already"
    return Finding(reason="SniConflict", severity="warn", sentence=text)
