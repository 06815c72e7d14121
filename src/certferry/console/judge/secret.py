"""Status of a TLS Secret: whether listeners serve its content, and if not, why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from certferry.console.state.cluster_view import ClusterContext
from certferry.console.state.objects import ListedSecret
from certferry.console.web.formatting import Badge
from certferry.core.diagnosis.usage import Use
from certferry.core.model.problems import Problem

_BLOCKING: Final = ("CertificateQuarantined", "BreakGlassKept", "BreakGlassActive", "RollbackPauseActive")


def status(cluster: ClusterContext, secret: ListedSecret, uses: tuple[Use, ...]) -> Badge | None:
    """Return the status of a Secret; None if its type holds no certificate."""
    if not secret.parsed.tls:
        return None
    if secret.parsed.chain is None:
        return Badge("bad", "Cannot be used", secret.parsed.flaw.sentence if secret.parsed.flaw else "")
    if why := objection(cluster.derived.problems.get(("Secret", secret.name), ())):
        return Badge("bad", "Rejected", why)
    if not uses:
        if cluster.derived.referring.get(secret.name):
            return Badge("idle", "Not in use", "Its Ingresses use an ELB server certificate, or no load balancer.")
        return Badge("idle", "Not in use", "No Ingress names it.")
    if any(use.chain is None or use.chain.digest != secret.parsed.chain.digest for use in uses):
        return Badge("busy", "On its way", "The load balancer does not have this content yet.")
    return served_badge(cluster, uses)


def served_badge(cluster: ClusterContext, uses: tuple[Use, ...]) -> Badge:
    """Return whether handshakes with the listeners of `uses` show what the ELB has."""
    served = [cluster.served(use) for use in uses]
    if False in served:
        return Badge("bad", "Not served", "A handshake with a listener shows another certificate or chain.")
    if None in served:
        return Badge("busy", "Accepted", "The load balancer has it; no handshake has shown it yet.")
    return Badge("good", "Served", "A handshake with each listener shows it.")


def objection(problems: Iterable[Problem]) -> str:
    """Return why listeners keep other content than the Secret's: rejected, quarantined or break-glass; "" if not."""
    blocking = (p for p in problems if p.reason in _BLOCKING or p.sentence.startswith("Rejected "))
    return next((p.sentence for p in blocking), "")
