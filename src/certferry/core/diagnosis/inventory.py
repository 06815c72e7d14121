"""Every certificate with its role: served, chosen, stored, or of a part of this system; and a row per source.

Both project one diagnosis and decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from certferry.core.diagnosis.causes import CertificateOrigin
from certferry.core.diagnosis.cluster import ClusterDiagnosis
from certferry.core.diagnosis.host_state import HostState, HostStatus
from certferry.core.diagnosis.usage import Use, uses
from certferry.core.diagnosis.wanted import CertificateSource
from certferry.core.model.elb import Certificate
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.translate.ingress_annotations import read as read_annotations
from certferry.core.x509.pem import Chain

Role = Literal["served", "chosen", "stored", "own"]
"""served: on a listener. chosen: an Ingress names it, and it is not on a listener (yet).
stored: on the ELB and not used. own: of a part of this system."""
SEVERITY: Final[tuple[HostStatus, ...]] = (
    *("wrong", "expired", "unusable", "missing", "unreachable", "unknown", "expiring", "served"),
)
"""Statuses of hosts, most severe first."""
_NO_FAILURES: Final[Mapping[Name, str]] = MappingProxyType({})


class CertificateInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate with its validity, use and origin."""

    id: str
    """Its ELB id; for our own: where it is shown, as host:port."""
    name: str
    role: Role
    not_before: datetime
    not_after: datetime
    fingerprint: str
    names: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    """Hosts whose clients get it."""
    ingresses: tuple[Name, ...] = ()
    listeners: tuple[str, ...] = ()
    """As ``port@load balancer``."""
    origin: CertificateOrigin | None = None

    @property
    def used(self) -> bool:
        """True if clients would notice its end."""
        return self.role != "stored"


class SourceRow(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts of one source that have the same status: what `certferry cert ls` shows as a line."""

    source: CertificateSource
    certificate_id: str
    """On the ELB; "" if it is not there."""
    name: str
    hosts: tuple[str, ...]
    ingresses: tuple[Name, ...]
    fingerprint: str
    """Of the source's content; "" if it has none."""
    expires: datetime | None
    """The end of the source's content, not of a substitute."""
    status: HostStatus | Literal["unused"]
    reason: str
    """Of the most severe problem, from the closed list; "" if there is none."""
    sentence: str
    next_action: str
    needs_action: bool
    """Whether clients get something wrong, or the source cannot be served."""


def watched(diagnosis: ClusterDiagnosis, failures: Mapping[Name, str] = _NO_FAILURES) -> tuple[CertificateInfo, ...]:
    """Return each server certificate of the ELB that can be read, the first to expire first.

    `failures`: why the content of a Secret could not be written.
    """
    by_id: dict[str, list[Use]] = {}
    for use in uses(diagnosis):
        by_id.setdefault(use.certificate, []).append(use)
    chosen = _chosen(diagnosis.view)
    certificates = [
        _watched(certificate, certificate.chain, by_id.get(ref, []), chosen, _origin(certificate, diagnosis, failures))
        for ref, certificate in diagnosis.observed.certificates.items()
        if certificate.chain and certificate.type == "server"
    ]
    return tuple(sorted(certificates, key=lambda w: (w.not_after, w.id)))


def own(where: str, what: str, chain: Chain) -> CertificateInfo:
    """Return a certificate of a part of this system: the API's, the console's."""
    return CertificateInfo(
        id=where,
        name=what,
        role="own",
        not_before=chain.not_before,
        not_after=chain.not_after,
        fingerprint=chain.fingerprint,
        names=chain.names,
    )


def source_rows(diagnosis: ClusterDiagnosis) -> tuple[SourceRow, ...]:
    """Return every source that a claim wants or a listener serves, and every unused ELB certificate.

    A missing Secret has a row too. Those that need action come first, then the first to expire.
    """
    by_source: dict[CertificateSource, list[HostState]] = {}
    for state in diagnosis.states:
        for source in _sources(state):
            by_source.setdefault(source, []).append(state)
    rows = [row for source, states in by_source.items() for row in _rows(source, states)]
    used = {row.certificate_id for row in rows}
    for ref, certificate in diagnosis.observed.certificates.items():
        if ref not in used and certificate.type == "server":
            rows.append(_unused(certificate, diagnosis.sources[ref]))
    return tuple(sorted(rows, key=_urgency))


def needing_action(rows: Iterable[SourceRow]) -> tuple[SourceRow, ...]:
    """Return the rows that `certferry cert expiring` shows: what needs action, and late renewals."""
    return tuple(row for row in rows if row.needs_action or row.status in ("expiring", "expired"))


def _sources(state: HostState) -> tuple[CertificateSource, ...]:
    """Return the sources to which a state belongs: the wanted ones, else what is bound."""
    wants = tuple(dict.fromkeys(wanted.source for wanted in state.wants))
    return wants or ((state.bound.source,) if state.bound else ())


def _rows(source: CertificateSource, states: list[HostState]) -> Iterator[SourceRow]:
    """Yield a row for each status. Clients that name no host count only if no host has the source."""
    named = [s for s in states if s.host] or states
    by_status: dict[HostStatus, list[HostState]] = {}
    for state in named:
        by_status.setdefault(state.status, []).append(state)
    for status, group in by_status.items():
        yield _row(source, status, group)


def _urgency(row: SourceRow) -> tuple[bool, bool, int, float, str]:
    rank = SEVERITY.index(row.status) if row.status != "unused" else len(SEVERITY)
    end = row.expires.timestamp() if row.expires else 0.0
    return not row.needs_action, row.status == "unused", rank if row.needs_action else 0, end, str(row.source)


def _row(source: CertificateSource, status: HostStatus, states: list[HostState]) -> SourceRow:
    state = next((s for s in states if s.host and s.needs_action), states[0])
    wanted = next((w for w in state.wants if w.source == source), None)
    bound = state.bound if state.bound and state.bound.source == source else None
    chain = wanted.chain if wanted and wanted.chain else bound.chain if bound else None
    problems = [p for s in states for p in s.problems]
    return SourceRow(
        source=source,
        certificate_id=(wanted.certificate_id if wanted else "") or (bound.certificate_id if bound else ""),
        name=bound.name if bound else source.name,
        hosts=tuple(sorted({s.host for s in states if s.host})),
        ingresses=tuple(dict.fromkeys(name for s in states for name in s.claims)),
        fingerprint=chain.fingerprint if chain else "",
        expires=chain.not_after if chain else None,
        status=status,
        reason=problems[0].reason if problems else "",
        sentence=state.sentence,
        next_action=state.next_action,
        needs_action=any(s.needs_action for s in states),
    )


def _unused(certificate: Certificate, source: CertificateSource) -> SourceRow:
    chain = certificate.chain
    return SourceRow(
        source=source,
        certificate_id=certificate.id,
        name=certificate.name or certificate.id,
        hosts=(),
        ingresses=(),
        fingerprint=chain.fingerprint if chain else "",
        expires=chain.not_after if chain else None,
        status="unused",
        reason="",
        sentence="No listener uses it.",
        next_action="",
        needs_action=False,
    )


def _watched(
    certificate: Certificate,
    chain: Chain,
    used: list[Use],
    chosen: Mapping[str, tuple[Name, ...]],
    origin: CertificateOrigin,
) -> CertificateInfo:
    role: Role = "served" if used else "chosen" if certificate.id in chosen else "stored"
    return CertificateInfo(
        id=certificate.id,
        name=certificate.name or certificate.id,
        role=role,
        not_before=chain.not_before,
        not_after=chain.not_after,
        fingerprint=chain.fingerprint,
        names=chain.names,
        hosts=tuple(sorted({h for use in used for h in (*use.hosts, *use.names)})),
        ingresses=tuple(dict.fromkeys(i for use in used for i in use.ingresses)) or chosen.get(certificate.id, ()),
        listeners=tuple(sorted({f"{use.port}@{use.loadbalancer}" for use in used})),
        origin=origin,
    )


def _chosen(view: ClusterView) -> Mapping[str, tuple[Name, ...]]:
    chosen: dict[str, tuple[Name, ...]] = {}
    for name, ingress in view.ingresses.items():
        values, _ = read_annotations(ingress)
        for ref in values.tls_certificate_ids or ():
            chosen[ref] = (*chosen.get(ref, ()), name)
    return chosen


def _origin(certificate: Certificate, diagnosis: ClusterDiagnosis, failures: Mapping[Name, str]) -> CertificateOrigin:
    source = diagnosis.sources[certificate.id]
    name = source.secret if not source.cluster else None
    verdicts = diagnosis.translation.verdicts.get(name, ()) if name else ()
    return CertificateOrigin(
        certificate=certificate,
        secret_name=name,
        secret=diagnosis.view.secrets.get(name) if name else None,
        rejection=next((v for v in verdicts if v.rejected), None),
        failure=failures.get(name) if name else None,
    )
