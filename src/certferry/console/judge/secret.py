"""How a Secret with a certificate stands: whether clients are shown what is in it, and if not, why.

Lists and the Secret's own pages say it in the same words.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from certferry.console.state.cluster_view import ClusterContext
from certferry.console.state.objects import ListedSecret
from certferry.console.web.formatting import Badge
from certferry.core.diagnosis.usage import Use
from certferry.core.model.kubernetes import TLS_TYPES
from certferry.core.model.problems import Problem

_WAITING: Final = ("CertificateQuarantined", "BreakGlassKept", "BreakGlassActive")


def state(cluster: ClusterContext, secret: ListedSecret, uses: tuple[Use, ...]) -> Badge | None:
    """None for a Secret that holds no certificate by its type."""
    if secret.type not in TLS_TYPES:
        return None
    if secret.parsed.chain is None:
        return Badge("bad", "Cannot be used", secret.parsed.flaw.sentence if secret.parsed.flaw else "")
    if why := objection(cluster.derived.problems.get(("Secret", secret.name), ())):
        return Badge("bad", "Not accepted", why)
    if not uses:
        if cluster.derived.referring.get(secret.name):
            return Badge(
                "idle", "Not in use", "Its Ingresses use an ELB server certificate, or no load balancer."
            )
        return Badge("idle", "Not in use", "No Ingress names it.")
    if any(use.chain is None or use.chain.digest != secret.parsed.chain.digest for use in uses):
        return Badge("busy", "On its way", "The load balancer has other content still.")
    return served(cluster, uses)


def served(cluster: ClusterContext, uses: tuple[Use, ...]) -> Badge:
    """Whether the listeners of `uses` show what the ELB has for them."""
    seen = [cluster.served(use) for use in uses]
    if False in seen:
        return Badge("bad", "Not served", "A handshake with a listener shows another certificate or chain.")
    if None in seen:
        return Badge("busy", "Accepted", "The load balancer has it; no handshake has shown it yet.")
    return Badge("good", "Served", "A handshake with each listener shows it.")


def objection(problems: Iterable[Problem]) -> str:
    """Why another content than the Secret's is served, and stays: it is refused, parked, or in an emergency."""
    waiting = (p for p in problems if p.reason in _WAITING or p.sentence.startswith("Rejected "))
    return next((p.sentence for p in waiting), "")
