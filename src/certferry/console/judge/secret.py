"""Status of a TLS Secret: whether listeners serve its content, and if not, why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from certferry.console.judge.hosts import PER_ROW, served_badge
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.state.objects import ListedSecret
from certferry.console.web.formatting import Badge
from certferry.core.diagnosis.host_state import HostState
from certferry.core.model.kubernetes import Name
from certferry.core.model.problems import Problem

_BLOCKING: Final = ("CertificateQuarantined", "BreakGlassKept", "BreakGlassActive", "RollbackPauseActive")


def status(cluster: ClusterContext, secret: ListedSecret) -> Badge | None:
    """Return the status of a Secret; None if its type holds no certificate."""
    chain, derived = secret.parsed.chain, cluster.derived
    if not secret.parsed.tls:
        return None
    if chain is None:
        return Badge("bad", "Cannot be used", secret.parsed.flaw.sentence if secret.parsed.flaw else "")
    if why := objection(derived.problems.get(("Secret", secret.name), ())):
        return Badge("bad", "Rejected", why)
    hosts = [host for host in derived.hosts_by_secret.get(secret.name, ()) if _decides(secret.name, host)]
    if not hosts:
        if derived.referring.get(secret.name):
            return Badge("idle", "Not in use", "Its Ingresses use another certificate, or no load balancer.")
        return Badge("idle", "Not in use", "No Ingress names it.")
    if any(
        _follows(secret.name, h) and not (h.bound and h.bound.chain and h.bound.chain.digest == chain.digest)
        for h in hosts
    ):
        return Badge("busy", "On its way", "The load balancer does not have this content yet.")
    return served_badge(cluster.probed(hosts, PER_ROW))


def _decides(name: Name, host: HostState) -> bool:
    """Return whether the content of Secret `name` is bound for a host, or is the one that counts there."""
    return _is_bound(name, host) or bool(host.wanted and host.wanted.source.secret == name)


def _follows(name: Name, host: HostState) -> bool:
    """Return whether the host is to get the content of Secret `name`."""
    return _is_bound(name, host) or bool(host.desired and host.desired.source.secret == name)


def _is_bound(name: Name, host: HostState) -> bool:
    return bool(host.bound and host.bound.source.secret == name and not host.bound.source.cluster)


def objection(problems: Iterable[Problem]) -> str:
    """Return why listeners keep other content than the Secret's: rejected, quarantined or break-glass; "" if not."""
    blocking = (p for p in problems if p.reason in _BLOCKING or p.sentence.startswith("Rejected "))
    return next((p.sentence for p in blocking), "")
