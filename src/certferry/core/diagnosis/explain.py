"""The hosts of one Ingress: which certificate each gets, why, and what would be next. No handshake is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from certferry.core.diagnosis.cluster import ClusterDiagnosis
from certferry.core.diagnosis.host_state import BoundCertificate, HostState, for_ingress
from certferry.core.model.kubernetes import Name
from certferry.core.model.problems import Problem
from certferry.core.translate.listener_claims import ListenerClaim
from certferry.core.x509.pem import listed


class HostExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """One host on one port."""

    host: str
    """"" for clients that name none."""
    port: int
    loadbalancer: str
    certificate: str
    """Its name on the ELB, or "" if there is none."""
    source: str
    why: str
    now: str
    """The name of the certificate that the ELB selects at the moment; "" if it is in step."""
    following: str
    """The certificate that would be selected without this one."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All hosts of an Ingress, the owners of its listeners, and its problems."""

    ingress: Name
    stories: tuple[HostExplanation, ...]
    governed: tuple[str, ...]
    """Per port: the listener owner, and which Ingress would be next."""
    problems: tuple[Problem, ...]


def explain(diagnosis: ClusterDiagnosis, name: Name) -> Explanation | None:
    """Return the explanation of Ingress `name`; None if there is no such Ingress."""
    ingress = diagnosis.view.ingresses.get(name)
    if ingress is None:
        return None
    groups = {
        at: group
        for at, group in diagnosis.translation.claims.items()
        if any(claim.ingress.meta.key == name for claim in group)
    }
    states = [s for s in for_ingress(diagnosis.states, name) if s.loadbalancer.id]
    return Explanation(
        ingress=name,
        stories=tuple(_stories(states)),
        governed=tuple(_owned(group, port) for (_, port), group in groups.items()),
        problems=tuple(p for p in diagnosis.translation.problems if p.object == ingress.ref),
    )


def _stories(states: Sequence[HostState]) -> Iterator[HostExplanation]:
    by_host: dict[tuple[str, int, str], list[HostState]] = {}
    for state in states:
        by_host.setdefault((state.loadbalancer.id, state.port, state.host), []).append(state)
    for group in by_host.values():
        selected = {s.desired.certificate_id: s for s in group if s.desired}
        for state in [*selected.values()] or group[:1]:
            yield _explanation(state, several=len(selected) > 1)


def _explanation(state: HostState, *, several: bool) -> HostExplanation:
    selected = state.desired or state.bound
    kind = f", for clients that take {state.key.key_kind}" if several else ""
    return HostExplanation(
        host=state.host,
        port=state.port,
        loadbalancer=state.loadbalancer.id,
        certificate=selected.name if selected else "",
        source=_source(selected) if selected else "",
        why=selected.why + kind if selected else f"port {state.port} has no certificate that can be served",
        now=_now(state),
        following=state.successor
        or ("the default certificate of the next Ingress that brings one, or none" if selected else ""),
    )


def _source(selected: BoundCertificate) -> str:
    users = listed(tuple(map(str, selected.ingresses)))
    if selected.source.secret is None:
        by = f", chosen by Ingress {users}" if users else ""
        return f"{selected.source}{by}"
    return f"{selected.source}" + (f", in spec.tls of Ingress {users}" if users else "")


def _now(state: HostState) -> str:
    if state.in_step or state.desired is None:
        return ""
    if state.bound is None:
        return "the listener has none yet"
    same = state.bound.source == state.desired.source
    return f"{state.bound.name} with other content" if same else state.bound.name


def _owned(group: Sequence[ListenerClaim], port: int) -> str:
    owner = group[0]
    said = (
        f"Ingress {owner.ingress.meta.key} owns the listener on port {port} ({owner.protocol}): it is the oldest there"
    )
    if len(group) == 1:
        return f"{said}, and the only one."
    return f"{said} ({owner.ingress.meta.created:%Y-%m-%d %H:%M:%S} UTC). Next would be {group[1].ingress.meta.key}."
