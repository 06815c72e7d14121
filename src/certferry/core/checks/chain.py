"""Checks of the chain that clients follow from the leaf to a root."""

from __future__ import annotations

from typing import Final

from certferry.core.checks.check import CheckInput, Finding, instant
from certferry.core.x509.pem import Chain

LONG: Final = 6
"""Certificates in a chain: a longer one is a bundle of roots."""


def ordered(case: CheckInput) -> Finding | None:
    """Require the leaf first, and each issuer after its certificate."""
    if not case.chain.reordered:
        return None
    return Finding(
        reason="ChainOutOfOrder",
        severity="info",
        sentence="its certificates came in another order than clients expect; Certferry sends them in the right one",
    )


def linked(case: CheckInput) -> Finding | None:
    """Require each certificate to be signed by the next one."""
    links = case.chain.links
    for number, link in enumerate(links[:-1]):
        if link.signed_by_next or link.self_issued:
            continue
        following = links[number + 1]
        if following.subject == link.issuer:
            text = f"{following.subject} in its chain has the right name, but did not sign {link.subject}"
        elif number == 0:
            text = f"the certificate of its issuer ({link.issuer}) is not in its chain, which holds {following.subject} instead"
        else:
            text = f"its chain breaks off: the issuer of {link.subject} ({link.issuer}) is missing before {following.subject}"
        return Finding(reason="ChainBroken", severity="refuse" if number == 0 else "warn", sentence=text)
    return None


def complete(case: CheckInput) -> Finding | None:
    """Require the issuer's certificate if clients need it.

    The issuer is no root if the leaf is public (Baseline Requirements 6.1.7), or has a URL of its issuer. It is no root
    either if the leaf replaces a certificate that came with that issuer.
    """
    chain = case.chain
    if chain.length > 1 or chain.self_signed or not chain.links:
        return None
    if chain.purpose.public or chain.purpose.fetchable or _came_with(case.before, chain.issuer):
        return Finding(
            reason="ChainIncomplete",
            severity="warn",
            sentence=f"the certificate of its issuer ({chain.issuer}) is not sent with it: clients that have not met it before fail; append it",
        )
    return Finding(
        reason="ChainIncomplete",
        severity="info",
        sentence=f"it is sent alone, which is right only where {chain.issuer} is a root that clients have",
    )


def _came_with(before: Chain | None, issuer: str) -> bool:
    after = before.links[1:2] if before else ()
    return any(link.subject == issuer and not link.self_issued for link in after)


def members_valid(case: CheckInput) -> Finding | None:
    """Require each intermediate that clients need to be valid now."""
    for link in case.chain.links[1:]:
        if link.self_issued:
            continue  # clients use their own copy of a root
        if link.not_after <= case.now:
            when = f"expired on {instant(link.not_after)}"
        elif link.not_before > case.now:
            when = f"is not valid before {instant(link.not_before)}"
        else:
            continue
        return Finding(reason="ChainExpired", sentence=f"{link.subject} in its chain {when}")
    return None


def members_strong(case: CheckInput) -> Finding | None:
    """Require intermediates to have keys that clients accept."""
    for link in case.chain.links[1:]:
        if link.key.startswith("RSA-") and int(link.key[4:]) < 2048:
            text = f"{link.subject} in its chain has a key of only {link.key[4:]} bits"
            return Finding(reason="WeakSignature", sentence=text)
    return None


def short(case: CheckInput) -> Finding | None:
    """Require a chain that is no bundle, and names that fit a ``domain`` field."""
    if case.chain.length > LONG:
        text = f"its chain has {case.chain.length} certificates; each handshake carries them all"
        return Finding(reason="LimitExceeded", severity="warn", sentence=text)
    if len(case.chain.names) > 100:
        text = f"it has {len(case.chain.names)} names; a load balancer serves 100 of one certificate by SNI"
        return Finding(reason="LimitExceeded", severity="warn", sentence=text)
    return None
