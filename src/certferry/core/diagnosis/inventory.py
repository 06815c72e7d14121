"""Every certificate that somebody relies on, with its role: served, chosen, stored, our own.

The controller gathers them for alerts and metrics, the command line for `certferry cert ls` and
`expiring`. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from certferry.core.diagnosis import causes
from certferry.core.diagnosis.causes import CertificateOrigin
from certferry.core.diagnosis.usage import Use, uses
from certferry.core.model.elb import Certificate, State
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.translate.ingress_annotations import read as read_annotations
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.x509.pem import Chain

Role = Literal["served", "chosen", "stored", "own"]
"""served: on a listener. chosen: an Ingress names it, and it is not on a listener (yet).
stored: on the ELB and used by nobody. own: of a part of this system."""


class CertificateInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate, and what a person has to know of it."""

    id: str
    """Its ELB id; for our own: where it is shown, as host:port."""
    name: str
    role: Role
    not_before: datetime
    not_after: datetime
    fingerprint: str
    names: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    """Hosts whose clients are shown it."""
    ingresses: tuple[Name, ...] = ()
    listeners: tuple[str, ...] = ()
    """As ``port@load balancer``."""
    origin: CertificateOrigin | None = None

    @property
    def used(self) -> bool:
        """Whether its end would be noticed: of the others nobody is told."""
        return self.role != "stored"


def watched(
    view: ClusterView | None,
    observed: State,
    options: TranslateOptions,
    refusals: Mapping[Name, str] | None = None,
    failures: Mapping[Name, str] | None = None,
) -> tuple[CertificateInfo, ...]:
    """Each server certificate of the ELB that can be read, the soonest end first.

    `refusals`, `failures`: why the content of a Secret is not taken, or was not written. Without `view`
    (the cluster does not answer) the ELB's own words must do.
    """
    seen = uses(view or ClusterView(cluster_id=""), observed, options)
    by_id: dict[str, list[Use]] = {}
    for use in seen:
        by_id.setdefault(use.certificate, []).append(use)
    chosen = _chosen(view)
    by_uid = {secret.meta.uid: name for name, secret in view.secrets.items()} if view else {}
    found = [
        _watched(
            certificate,
            certificate.chain,
            by_id.get(ref, []),
            chosen,
            _origin(
                certificate,
                causes.followed(certificate, by_uid, view.cluster_id if view else "", options.cluster_name),
                view,
                refusals or {},
                failures or {},
            ),
        )
        for ref, certificate in observed.certificates.items()
        if certificate.chain and certificate.type == "server"
    ]
    return tuple(sorted(found, key=lambda w: (w.not_after, w.id)))


def own(where: str, what: str, chain: Chain) -> CertificateInfo:
    """A certificate of a part of this system: the API's, the console's."""
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
        ingresses=tuple(dict.fromkeys(i for use in used for i in use.ingresses))
        or chosen.get(certificate.id, ()),
        listeners=tuple(sorted({f"{use.port}@{use.loadbalancer}" for use in used})),
        origin=origin,
    )


def _chosen(view: ClusterView | None) -> Mapping[str, tuple[Name, ...]]:
    found: dict[str, tuple[Name, ...]] = {}
    for name, ingress in view.ingresses.items() if view else ():
        values, _ = read_annotations(ingress)
        for ref in values.tls_certificate_ids or ():
            found[ref] = (*found.get(ref, ()), name)
    return found


def _origin(
    certificate: Certificate,
    name: Name | None,
    view: ClusterView | None,
    refusals: Mapping[Name, str],
    failures: Mapping[Name, str],
) -> CertificateOrigin:
    return CertificateOrigin(
        certificate=certificate,
        secret_name=name,
        secret=view.secrets.get(name) if view and name else None,
        refusal=refusals.get(name) if name else None,
        failure=failures.get(name) if name else None,
    )
