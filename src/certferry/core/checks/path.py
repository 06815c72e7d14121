"""Checks of the limits that the certificates of a chain set for clients (RFC 5280 6.1)."""

from __future__ import annotations

from collections.abc import Iterator

from certferry.core.checks.check import CheckInput, Finding, Severity
from certferry.core.x509.chain import ChainCertificate
from certferry.core.x509.pem import listed


def critical(case: CheckInput) -> Finding | None:
    """Require that clients process each critical extension, because they reject any other (RFC 5280 4.2)."""
    for number, link in _followed(case):
        if link.limits.critical:
            whose = f"{link.subject} in its chain has" if number else "it has"
            return Finding(
                reason="CriticalExtensionUnknown",
                severity="warn" if number and link.self_issued else "refuse",
                sentence=f"{whose} the critical extension {link.limits.critical}: clients that do not know it reject it",
            )
    return None


def permitted(case: CheckInput) -> Finding | None:
    """Require issuers that may issue this certificate."""
    below = 0
    for number, link in _followed(case):
        if not number:
            continue
        if text := _objection(link, below):
            severity: Severity = "warn" if link.self_issued else "refuse"
            return Finding(reason="ChainBroken", severity=severity, sentence=f"{link.subject} in its chain {text}")
        below += not link.self_issued
    return None


def _followed(case: CheckInput) -> Iterator[tuple[int, ChainCertificate]]:
    """Yield the certificates of the path that clients follow, numbered from the leaf; ``linked`` reports a gap."""
    for number, link in enumerate(case.chain.links):
        yield number, link
        if not link.signed_by_next:
            return


def _objection(link: ChainCertificate, below: int) -> str:
    """Return why clients do not accept `link` as an issuer above `below` intermediates; "" if they do."""
    limits, root = link.limits, link.self_issued
    if not (limits.issues or root):
        return "may not sign certificates, as its basic constraints or key usage say"
    if not (limits.server or root):
        return "may not issue certificates of servers, as its extended key usage says"
    if limits.depth is not None and below > limits.depth:
        return f"allows {limits.depth} intermediates below it, and has {below}"
    if limits.excluded:
        return f"excludes {listed(limits.excluded)} by its name constraints: clients reject the whole certificate"
    return ""
