"""Every certificate with its role: served, chosen, stored, or of a part of this system."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from certferry.core.diagnosis.causes import CertificateOrigin
from certferry.core.diagnosis.cluster import ClusterDiagnosis
from certferry.core.diagnosis.host_state import HostStatus
from certferry.core.diagnosis.isolation import IDS
from certferry.core.diagnosis.usage import Use, uses
from certferry.core.model.elb import Certificate
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.translate.ingress_annotations import Values
from certferry.core.translate.ingress_annotations import read as read_annotations
from certferry.core.translate.services.claimants import KIND
from certferry.core.translate.services.listener_annotations import read as read_of_service
from certferry.core.x509.chain import ChainCertificate
from certferry.core.x509.pem import Chain

Role = Literal["served", "chosen", "stored", "own"]
"""served: on a listener. chosen: an Ingress names it, and it is not on a listener (yet).
stored: on the ELB and not used. own: of a part of this system."""
SEVERITY: Final[tuple[HostStatus, ...]] = (
    *("served", "expiring", "unknown", "unreachable", "missing", "unusable", "compromised", "expired", "wrong"),
)
"""Statuses of hosts, the most severe last."""
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
    intermediate: ChainCertificate | None = None
    """The intermediate that expires first, if that is before the certificate itself: clients then refuse both."""

    @property
    def ends(self) -> datetime:
        """The instant from which clients refuse it: its own end, or that of an intermediate."""
        return self.intermediate.not_after if self.intermediate else self.not_after

    @property
    def used(self) -> bool:
        """True if clients would notice its end."""
        return self.role != "stored"


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
        intermediate=_first_to_expire(chain),
    )


def _first_to_expire(chain: Chain) -> ChainCertificate | None:
    """Return the intermediate that expires before the leaf, the first one; a root does not count."""
    ending = [link for link in chain.links[1:] if not link.self_issued and link.not_after < chain.not_after]
    return min(ending, key=lambda link: link.not_after, default=None)


def _chosen(view: ClusterView) -> Mapping[str, tuple[Name, ...]]:
    chosen: dict[str, tuple[Name, ...]] = {}
    claiming: list[tuple[Name, Values]] = [
        (n, read_annotations(ingress)[0]) for n, ingress in view.ingresses.items() if IDS in ingress.meta.annotations
    ]
    services = (s for s in view.services.values() if s.type == "LoadBalancer")
    claiming += [(n._replace(kind=KIND), read_of_service(s)[0]) for s in services for n in (s.meta.key,)]
    for name, values in claiming:
        for ref in (*(values.tls_certificate_ids or ()), *(values.sni_certificate_ids or ())):
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
