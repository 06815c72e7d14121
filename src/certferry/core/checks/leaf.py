"""Checks of the leaf alone: its key, signature, validity, purpose and names. RFC 5280, RFC 9525."""

from __future__ import annotations

import math
from typing import Final

from certferry.core.checks.check import CheckInput, Finding, instant
from certferry.core.x509 import lifetimes
from certferry.core.x509.chain import WEAK
from certferry.core.x509.expiry import shifted
from certferry.core.x509.pem import listed

PRIVATE_LIFETIME: Final = 825
"""Days; Apple's systems trust no server certificate with a longer lifetime, not even of a private CA."""
SLOW_RSA: Final = 4096
"""Bits above which a handshake costs ten times as much without more security."""


def pair(case: CheckInput) -> Finding | None:
    """Require the key to belong to the certificate."""
    if case.key is None or case.key == case.chain.spki:
        return None
    return Finding(reason="CertificateUnusable", sentence="its private key belongs to another certificate")


def loadable(case: CheckInput) -> Finding | None:
    """Require a key that the data plane's TLS library accepts."""
    if case.chain.loadable:
        return None
    if case.chain.data_plane_objection:
        return Finding(reason="CertificateUnusable", sentence=case.chain.data_plane_objection)
    return Finding(
        reason="CertificateUnusable",
        sentence=f"its key ({case.chain.key}) is not accepted by the load balancer; use RSA from 2048 bits or P-256",
    )


def not_expired(case: CheckInput) -> Finding | None:
    """Require an end of validity in the future."""
    if case.now < case.chain.not_after:
        return None
    return Finding(reason="CertificateExpired", sentence=f"it expired on {instant(case.chain.not_after)}")


def started(case: CheckInput) -> Finding | None:
    """Require a start of validity in the past."""
    if case.chain.not_before <= case.now:
        return None
    return Finding(reason="CertificateNotYetValid", sentence=f"it is not valid before {instant(case.chain.not_before)}")


def uncompromised(case: CheckInput) -> Finding | None:
    """Require a key that is not marked as compromised."""
    if case.chain.spki not in case.compromised:
        return None
    return Finding(reason="CertificateCompromised", sentence="its key is marked as compromised")


def clock_skew(case: CheckInput) -> Finding | None:
    """Require both edges of its validity to be farther away than a client's clock may be off."""
    chain, now, minutes = case.chain, case.now, case.skew.total_seconds() / 60
    if chain.not_before <= now < shifted(chain.not_before, case.skew):
        edge = f"it is valid only since {instant(chain.not_before)}"
    elif shifted(chain.not_after, -case.skew) <= now < chain.not_after:
        edge = f"it expires at {instant(chain.not_after)}"
    else:
        return None
    return Finding(
        reason="ClockSkew",
        severity="warn",
        sentence=f"{edge}: clients whose clock is {minutes:.0f} minutes off do not accept it",
    )


def signature(case: CheckInput) -> Finding | None:
    """Require signatures without a broken hash up to the root."""
    weak = [link for link in case.chain.links if link.signature in WEAK and not link.self_issued]
    if not weak:
        return None
    return Finding(
        reason="WeakSignature",
        sentence=f"the signature of {weak[0].subject} uses {weak[0].signature}, which clients do not accept",
    )


def usage(case: CheckInput) -> Finding | None:
    """Require a certificate that a server may use."""
    if not case.chain.purpose.server:
        return Finding(
            reason="ServerAuthMissing",
            sentence="its extended key usage has no server authentication: clients do not accept it",
        )
    if case.chain.links and case.chain.links[0].authority:
        return Finding(
            reason="ServerAuthMissing",
            severity="warn",
            sentence="it is a CA's certificate and not a server's: many clients do not accept it",
        )
    return None


def key_common(case: CheckInput) -> Finding | None:
    """Require a kind of key that browsers accept and that is not needlessly slow."""
    kind = case.chain.key
    if kind in {"P-521", "Ed25519"}:
        text = f"its key ({kind}) is not accepted by common browsers; use P-256 or RSA-2048"
    elif kind.startswith("RSA-") and int(kind[4:]) > SLOW_RSA:
        text = f"its key ({kind}) makes each handshake slow; P-256 or RSA-2048 is as safe here"
    else:
        return None
    return Finding(reason="KeyTypeUncommon", severity="warn", sentence=text)


def named(case: CheckInput) -> Finding | None:
    """Require subject alternative names: clients ignore the common name (RFC 9525, 4.1)."""
    if case.chain.sans:
        return None
    return Finding(
        reason="SubjectAltNameMissing",
        severity="warn",
        sentence="it has no subject alternative name: clients do not look at the common name",
    )


def wildcards(case: CheckInput) -> Finding | None:
    """Require each wildcard to be the whole first label, over at least two more labels."""
    odd = tuple(n for n in case.chain.names if "*" in n and not _proper(n))
    if odd:
        text = f"{listed(odd)} matches nothing: a wildcard is the whole first label, over a domain of two or more"
        return Finding(reason="WildcardMismatch", severity="warn", sentence=text)
    for name in case.chain.names:
        deep = tuple(
            h for h in case.hosts if name.startswith("*.") and h.endswith(name[1:]) and "." in h.removesuffix(name[1:])
        )
        if deep and not any(h in case.chain.names for h in deep):
            text = f"{name} covers one label only, and not {listed(deep)}"
            return Finding(reason="WildcardMismatch", severity="warn", sentence=text)
    return None


def lifetime(case: CheckInput) -> Finding | None:
    """Require a lifetime that clients accept for its date of issue."""
    chain = case.chain
    if chain.self_signed:
        return None
    days = lifetimes.days_of(chain.not_before, chain.not_after)
    if chain.purpose.public:
        most = lifetimes.limit_of_browsers(chain.not_before)
        whose = f"a public one issued on {chain.not_before:%Y-%m-%d} may live {most}"
    else:
        most, whose = PRIVATE_LIFETIME, f"Apple's systems accept {PRIVATE_LIFETIME}"
    if most is None or days <= most:
        return None
    return Finding(
        reason="LifetimeTooLong", severity="warn", sentence=f"it is made to live {math.ceil(days)} days; {whose}"
    )


def _proper(name: str) -> bool:
    rest = name[2:]
    return name.startswith("*.") and "*" not in rest and "." in rest
