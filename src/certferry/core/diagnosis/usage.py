"""Uses of each certificate, and what a replacement of it would touch: the host states by certificate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from certferry.core.diagnosis.cluster import ClusterDiagnosis
from certferry.core.diagnosis.host_state import HostState
from certferry.core.model import naming as names
from certferry.core.model.elb import Certificate, Listener
from certferry.core.model.kubernetes import Name
from certferry.core.x509.pem import Chain

Slot = Literal["default", "sni"]


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate in one slot of one listener."""

    certificate: str
    """Its id on the ELB."""
    chain: Chain | None
    """None: the ELB does not have it, or it cannot be read."""
    secret: Name | None
    """The Secret of this cluster that it follows."""
    source: Literal["secret", "elb"]
    """Where its content is changed: in a Secret (of this cluster or another), or on the ELB."""
    listener: str
    port: int
    loadbalancer: str
    slot: Slot
    names: tuple[str, ...]
    """For which names it is SNI certificate; none for the default one."""
    hosts: tuple[str, ...]
    """Hosts of Ingresses whose clients get it."""
    ingresses: tuple[Name, ...]
    """Those whose clients get it, and the listener owner if it is the default one; oldest first."""
    governing: Name | None
    """The listener owner; None if no Ingress of this cluster decides on the listener."""
    served: bool | None
    """True if every handshake that is known showed it; None: none is known."""


class Touched(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that sees the difference when a certificate gets new content, sorted."""

    uses: tuple[Use, ...]
    listeners: tuple[str, ...]
    loadbalancers: tuple[str, ...]
    hosts: tuple[str, ...]
    ingresses: tuple[Name, ...]


def uses(diagnosis: ClusterDiagnosis) -> tuple[Use, ...]:
    """Return every certificate on every HTTPS listener, by load balancer, port and slot."""
    owners: dict[str, Name | None] = {}
    bound: dict[tuple[str, str], list[HostState]] = {}
    for state in diagnosis.states:
        if state.listener_id:
            owners.setdefault(state.listener_id, state.owner)
            if state.bound:
                bound.setdefault((state.listener_id, state.bound.certificate_id), []).append(state)
    listeners = [it for ref, it in diagnosis.observed.listeners.items() if ref in owners]
    return tuple(
        _use(diagnosis, listener, owners[listener.id], ref, slot, bound.get((listener.id, ref), []))
        for listener in sorted(listeners, key=_order)
        for ref, slot in _refs(listener)
    )


def touched_by(all_uses: Iterable[Use], what: str | Name) -> Touched:
    """Return what new content for a certificate (by its id) or a Secret (by its name) would touch."""
    mine = tuple(u for u in all_uses if (u.secret == what if isinstance(what, Name) else u.certificate == what))
    return Touched(
        uses=mine,
        listeners=tuple(sorted({u.listener for u in mine})),
        loadbalancers=tuple(sorted({u.loadbalancer for u in mine})),
        hosts=tuple(sorted({h for u in mine for h in (*u.hosts, *u.names)})),
        ingresses=tuple(dict.fromkeys(name for u in mine for name in u.ingresses)),
    )


def _use(
    diagnosis: ClusterDiagnosis, listener: Listener, owner: Name | None, ref: str, slot: Slot, bound: list[HostState]
) -> Use:
    """Describe one slot; `bound`: the states of the listener's hosts whose clients get the certificate."""
    certificate = diagnosis.observed.certificates.get(ref)
    wanted = [s for s in bound if owner and s.claims and s.host]
    ingresses = {name for s in wanted for name in s.claims} | ({owner} if owner and slot == "default" else set())
    followed = diagnosis.sources.get(ref)
    return Use(
        certificate=ref,
        chain=certificate.chain if certificate else None,
        secret=followed.secret if followed and not followed.cluster else None,
        source=_source(certificate),
        listener=listener.id,
        port=listener.protocol_port,
        loadbalancer=listener.loadbalancer_id,
        slot=slot,
        names=certificate.domain if certificate and slot == "sni" else (),
        hosts=tuple(sorted({s.host for s in wanted})),
        ingresses=tuple(sorted(ingresses, key=lambda name: _age(diagnosis, name))),
        governing=owner,
        served=_served(certificate, wanted or bound),
    )


def _age(diagnosis: ClusterDiagnosis, name: Name) -> tuple[object, Name]:
    return diagnosis.translation.claimants[name].meta.created, name


def _order(listener: Listener) -> tuple[str, int, str]:
    return listener.loadbalancer_id, listener.protocol_port, listener.id


def _refs(listener: Listener) -> Iterable[tuple[str, Slot]]:
    if listener.default_tls_container_ref:
        yield listener.default_tls_container_ref, "default"
    for ref in sorted(listener.sni_container_refs or ()):
        yield ref, "sni"


def _source(certificate: Certificate | None) -> Literal["secret", "elb"]:
    follows = certificate and (
        certificate.source or certificate.owner or "secret_id" in names.described(certificate.description)
    )
    return "secret" if follows else "elb"


def _served(certificate: Certificate | None, states: list[HostState]) -> bool | None:
    """Compare with what probes show. One that shows the host's other key kind says nothing of this one."""
    if certificate is None or certificate.chain is None:
        return None
    fingerprint = certificate.chain.fingerprint
    seen = {
        probe.fingerprint
        for state in states
        for probe in state.shown
        if probe.fingerprint and (probe.fingerprint == fingerprint or not probe.matches_bound)
    }
    return seen == {fingerprint} if seen else None
