"""Rows of certificates for ``certferry cert ls``, ``expiring`` and ``show``, and of the listeners that use them.

Status and problems are those of the hosts (``core.diagnosis.host_state``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from certferry.cli.cert.lookup import FleetSnapshot, LocatedCertificate
from certferry.cli.output import ago
from certferry.core.diagnosis import causes, usage
from certferry.core.diagnosis.host_state import HostState, WantedCertificate
from certferry.core.diagnosis.inventory import SEVERITY
from certferry.core.model import quarantine
from certferry.core.x509 import expiry
from certferry.core.x509.pem import Chain

ABSENT: Final = ("SecretNotFound", "CertificateNotFound")
_UNUSED: Final = {"stored": "unused", "chosen": "not bound"}
"""Status of a certificate without a host, by its role."""


class Sort(StrEnum):
    """Values of ``--sort``."""

    expires = "expires"
    secret = "secret"  # noqa: S105 - the column
    host = "host"
    status = "status"


def inventory(fleet: FleetSnapshot) -> list[dict[str, Any]]:
    """Return a row for each certificate, and for each that an Ingress wants and the ELB does not have."""
    states = {id(snapshot): fleet.hosts(snapshot) for snapshot in fleet.clusters}
    rows = [_row(fleet, located, states[id(located.snapshot)]) for located in fleet.certificates()]
    for snapshot in fleet.clusters:
        located = [c for c in fleet.certificates() if c.snapshot is snapshot]
        present = {str(c.secret) if c.secret else c.info.id for c in located}
        absent: dict[str, list[tuple[HostState, WantedCertificate]]] = {}
        for state in states[id(snapshot)]:
            for wanted in state.wants:
                name = str(wanted.source.secret or wanted.source.certificate_id)
                if name not in present and not wanted.good:
                    absent.setdefault(name, []).append((state, wanted))
        rows += [_absent_row(snapshot.cluster.name, wants, fleet) for _, wants in sorted(absent.items())]
    return rows


def places(located: LocatedCertificate) -> list[dict[str, Any]]:
    """Return a row for each slot of a listener that has the certificate."""
    snapshot, view = located.snapshot, located.snapshot.view
    if view is None:
        return [
            {"cluster": located.cluster.name, "id": located.info.id, "port": port, "loadbalancer": balancer}
            for port, _, balancer in (text.partition("@") for text in located.info.listeners)
        ]
    return [
        {
            "cluster": located.cluster.name,
            "id": use.certificate,
            "loadbalancer": _balancer(located, use.loadbalancer),
            "listener": use.listener,
            "port": use.port,
            "slot": use.slot,
            "hosts": list(use.hosts or use.names),
            "ingresses": [str(i) for i in use.ingresses],
            "governing": str(use.governing) if use.governing else "",
        }
        for use in usage.uses(snapshot.diagnosis)
        if use.certificate == located.info.id
    ]


def _row(fleet: FleetSnapshot, located: LocatedCertificate, states: Iterable[HostState]) -> dict[str, Any]:
    info, origin, now = located.info, located.info.origin, datetime.now(UTC)
    mine = [s for s in states if _concerns(s, located)]
    worst = max(mine, key=_rank, default=None)
    age = expiry.state(info.not_before, info.not_after, now, fleet.limits)
    why, action = _remedy(worst, causes.cause(origin) if origin and age != "good" else None)
    return {
        "cluster": located.cluster.name,
        "secret": str(located.secret) if located.secret else f"(ELB) {info.name}",
        "id": info.id,
        "name": info.name,
        "role": info.role,
        "status": _status(worst, age) if worst else _UNUSED.get(info.role, info.role),
        "state": age,
        "expires": ago(info.not_after, now),
        "not_after": info.not_after,
        "fingerprint": info.fingerprint,
        "names": list(info.names),
        "hosts": sorted({*info.hosts, *(s.host for s in mine if s.host)}),
        "ingresses": [str(i) for i in info.ingresses],
        "source": causes.source(origin) if origin else "",
        "owner": causes.owner(origin) if origin else "",
        "quarantined": quarantine.quarantined_mark(origin.certificate.description) if origin else None,
        "used": info.used or bool(mine),
        "needs_action": bool(worst and worst.needs_action),
        "why": why,
        "next": action,
    }


def _remedy(worst: HostState | None, cause: causes.Cause | None) -> tuple[str, str]:
    """Return why a certificate needs attention and the next action: of its host's problem, else of its age."""
    if worst and worst.problems:
        return worst.problems[0].sentence, worst.problems[0].action
    return (cause.why, cause.command) if cause else ("", "")


def _absent_row(cluster: str, wants: list[tuple[HostState, WantedCertificate]], fleet: FleetSnapshot) -> dict[str, Any]:
    """Return the row of a certificate that Ingresses want and the ELB does not have."""
    state, wanted = wants[0]
    now = datetime.now(UTC)
    chain: Chain | None = wanted.chain
    problem = next((p for p in state.problems if p.reason == wanted.reason), None)
    return {
        "cluster": cluster,
        "secret": str(wanted.source.secret or f"(ELB) {wanted.source.certificate_id}"),
        "id": "",
        "name": "",
        "role": "missing",
        "status": f"{'missing' if wanted.reason in ABSENT else 'unusable'} ({wanted.reason})",
        "state": expiry.state(chain.not_before, chain.not_after, now, fleet.limits) if chain else "",
        "expires": ago(chain.not_after, now) if chain else "",
        "not_after": chain.not_after if chain else None,
        "fingerprint": chain.fingerprint if chain else "",
        "names": list(chain.names) if chain else [],
        "hosts": sorted({s.host for s, _ in wants if s.host}),
        "ingresses": sorted({f"{w.ingress.namespace}/{w.ingress.name}" for _, w in wants}),
        "source": str(wanted.source),
        "owner": f"namespace {wanted.object.namespace}",
        "quarantined": None,
        "used": True,
        "needs_action": True,
        "why": wanted.sentence,
        "next": problem.action if problem else state.next_action,
    }


def _concerns(state: HostState, located: LocatedCertificate) -> bool:
    """Return whether a host has its status from this certificate: it wants it, or it is bound and wants none."""
    bound = state.bound is not None and state.bound.certificate_id == located.info.id
    if state.wanted is None or not state.host:
        return bound and (state.wanted is None or state.wanted.certificate_id == located.info.id)
    source = state.wanted.source
    if source.secret:
        return source.secret == located.secret
    return source.certificate_id == located.info.id


_NO_UPDATE: Final = ("SecretNotFound", "BreakGlassActive", "BreakGlassKept")
"""Reasons for which the wanted certificate is not served, other than a rejected content."""


def _status(state: HostState, age: str) -> str:
    if state.status == "compromised":
        return state.status
    reason = state.problems[0].reason if state.problems else age if state.status == "expiring" else ""
    rejected = state.wanted and not state.wanted.good and state.wanted.reason not in _NO_UPDATE
    if state.status in ("served", "expiring") and rejected:
        reason = f"update rejected: {reason}"  # else it would read as the reason of the served certificate
    return f"{state.status} ({reason})" if reason else state.status


def _rank(state: HostState) -> tuple[int, int]:
    return SEVERITY.index(state.status), len(state.problems)


def late(row: Mapping[str, Any]) -> bool:
    """Return whether the renewal of a row's certificate is late, or its host needs an action."""
    return bool(row["state"] != "good" or row["needs_action"])


def selected(row: Mapping[str, Any], namespace: str | None, span: timedelta | None) -> bool:
    """Return whether a row is of `namespace` and expires within `span`; None selects all."""
    if namespace and not any(name.startswith(f"{namespace}/") for name in (row["secret"], *row["ingresses"])):
        return False
    return span is None or (row["not_after"] is not None and row["not_after"] <= datetime.now(UTC) + span)


def order(row: Mapping[str, Any], sort: Sort) -> tuple[Any, ...]:
    """Return the sort key of a row."""
    end = row["not_after"] or datetime.min.replace(tzinfo=UTC)
    first: Any = {
        Sort.expires: end,
        Sort.secret: row["secret"],
        Sort.host: row["hosts"],
        Sort.status: -SEVERITY.index(word) if (word := row["status"].split(" ")[0]) in SEVERITY else 0,
    }[sort]
    return first, end, row["secret"], row["id"]


def _balancer(located: LocatedCertificate, ref: str) -> str:
    balancer = located.snapshot.observed.loadbalancers.get(ref)
    return f"{balancer.name or ref} ({balancer.vip_address})" if balancer else ref
