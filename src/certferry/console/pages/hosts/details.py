"""The parts of a detail page: hosts, problems, timeline, connected objects. All project the host states."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from certferry.console.judge.health import HostPlace, ObjectProblems, places, problems
from certferry.console.judge.rotation_log import RotationRecord, TimelineEntry, read_rotation, timeline
from certferry.console.state.cluster_view import ClusterContext
from certferry.core.diagnosis.host_state import HostState
from certferry.core.model.elb import Listener, LoadBalancer
from certferry.core.model.kubernetes import Name
from certferry.core.model.problems import Problem
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbError
from certferry.elb.client.extensions import Record

PER_CERTIFICATE: Final = 25
"""Hosts of each certificate that are probed for one page."""
SINCE: Final = timedelta(days=90)
"""Age of the oldest entry of a timeline."""
ENTRIES: Final = 20
"""Most entries of a timeline."""
CERTIFICATES: Final = 4
"""Most certificates whose audit log is read for one page."""


class Connected(msgspec.Struct, frozen=True, kw_only=True):
    """The objects with which the hosts of a page are connected, each sorted."""

    ingresses: tuple[Name, ...]
    secrets: tuple[Name, ...]
    certificates: tuple[tuple[str, str], ...]
    """Id and name."""
    listeners: tuple[Listener, ...]
    balancers: tuple[LoadBalancer, ...]


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """The parts that all detail pages share."""

    hosts: list[HostPlace]
    problems: list[ObjectProblems]
    timeline: list[TimelineEntry]
    connected: Connected


async def details(
    cluster: ClusterContext, states: Iterable[HostState], reported: Sequence[Problem] = (), host: str = ""
) -> Details:
    """Return the parts for the hosts of `states`. `host`: read the audit log of this host, not of its certificates."""
    probed = cluster.probed(states, PER_CERTIFICATE)
    connected = connections(cluster, probed)
    return Details(
        hosts=places(probed),
        problems=problems(visible(cluster, probed), reported),
        timeline=await _timeline(cluster, connected, host),
        connected=connected,
    )


def visible(cluster: ClusterContext, states: Sequence[HostState]) -> Sequence[HostState]:
    """Return `states` without the problems of Secrets if the user may not see those."""
    if cluster.may("member"):
        return states
    return [
        msgspec.structs.replace(s, problems=tuple(p for p in s.problems if p.object.kind != "Secret")) for s in states
    ]


def connections(cluster: ClusterContext, states: Iterable[HostState]) -> Connected:
    """Return the objects that `states` name."""
    ingresses: set[Name] = set()
    secrets: set[Name] = set()
    certificates: dict[str, str] = {}
    listeners: dict[str, Listener] = {}
    balancers: dict[str, LoadBalancer] = {}
    for state in states:
        ingresses.update(state.claims)
        sources = [w.source for w in state.wants]
        if state.bound:
            ingresses.update(state.bound.ingresses)
            sources.append(state.bound.source)
            certificates[state.bound.certificate_id] = state.bound.name
        secrets.update(s.secret for s in sources if s.secret and not s.cluster)
        if listener := cluster.elb.state.listeners.get(state.listener_id):
            listeners[listener.id] = listener
        balancers[state.loadbalancer.id] = state.loadbalancer
    return Connected(
        ingresses=tuple(sorted(name for name in ingresses if name in cluster.kube.ingresses)),
        secrets=tuple(sorted(secrets)) if cluster.may("member") else (),
        certificates=tuple(sorted(certificates.items(), key=lambda pair: pair[1])),
        listeners=tuple(sorted(listeners.values(), key=lambda li: (li.loadbalancer_id, li.protocol_port))),
        balancers=tuple(sorted(balancers.values(), key=lambda b: (b.name, b.id))),
    )


def commands(state: HostState) -> tuple[tuple[str, str], ...]:
    """Return commands that show what clients of a host get: (label, command)."""
    name = f"certferry-probe{state.host[1:]}" if state.host.startswith("*.") else state.host
    address = f"[{state.key.address}]" if ":" in state.key.address else state.key.address
    sni = f"-servername {shlex.quote(name)}" if name else "-noservername"
    openssl = (
        f"openssl s_client -connect {address}:{state.key.port} {sni} </dev/null 2>/dev/null"
        " | openssl x509 -noout -subject -issuer -dates -fingerprint -sha256"
    )
    host = shlex.quote(name or address)
    connect = f"--connect-to ::{address}:{state.key.port}"
    return ("openssl", openssl), ("curl", f"curl -vI {connect} https://{host}:{state.key.port}/")


async def _timeline(cluster: ClusterContext, connected: Connected, host: str) -> list[TimelineEntry]:
    rotations: dict[Name, RotationRecord] = {}
    for name in connected.ingresses:
        ingress = cluster.kube.ingresses.get(name)
        if ingress and (record := read_rotation(ingress.reported.rotation)):
            rotations[name] = record
    records: list[Record] = []
    if "audit" in cluster.elb.extensions:
        since = datetime.now(UTC) - SINCE
        ids = [""] if host else [identity for identity, _ in connected.certificates[:CERTIFICATES]]
        for identity in ids:
            # a role may not read the log
            with contextlib.suppress(ElbError):
                read = extensions.audit(
                    cluster.elb.client, certificate=identity or None, host=host or None, since=since
                )
                records += [record async for record in read][-ENTRIES:]
    return timeline(records, rotations)[:ENTRIES]
