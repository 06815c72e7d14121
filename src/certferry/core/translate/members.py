"""The members of a pool: the Pods behind a Service, or the nodes that forward to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Literal

from certferry.core.model import naming as names
from certferry.core.model.elb import Member
from certferry.core.model.kubernetes import Backend, ClusterView, Name, Service, ServicePort

Backends = Literal["auto", "node", "pod"]
"""The kind of members. ``auto``: nodes for Services of type NodePort and LoadBalancer, else Pods."""

_NODE_TYPES = ("NodePort", "LoadBalancer")
MOST_WEIGHT = 100


def port_of(service: Service | None, backend: Backend) -> ServicePort | None:
    """Return the port of `service` that `backend` names by number or name, or None."""
    ports = service.ports if service else ()
    return next((p for p in ports if backend.port in (p.port, p.name)), None)


def by_node(service: Service, port: ServicePort, backends: Backends) -> bool:
    """Return whether the members are nodes."""
    if backends == "auto":
        return service.type in _NODE_TYPES and port.node_port is not None
    return backends == "node" and port.node_port is not None


def members(
    view: ClusterView, name: Name, backend: Backend, backends: Backends, *, adaptive: bool = False
) -> tuple[Member, ...]:
    """Return the ready members for `backend` of Service `name`, sorted."""
    service = view.services.get(name)
    port = port_of(service, backend)
    if service is None or port is None:
        return ()
    if by_node(service, port, backends) and view.nodes is not None:
        return _nodes(view, service, port, adaptive=adaptive)
    found = {(address, number) for address, number, _ in _pods(view, name, port)}
    return tuple(_member(address, number, 1) for address, number in sorted(found))


def _nodes(view: ClusterView, service: Service, port: ServicePort, *, adaptive: bool) -> tuple[Member, ...]:
    pods: Mapping[str, int] = Counter(node for _, _, node in _pods(view, service.meta.key, port))
    ready = sorted((n for n in (view.nodes or {}).values() if n.ready and n.address), key=lambda n: n.address)
    if service.local or adaptive:
        ready = [n for n in ready if pods.get(n.name)]
    number = port.node_port or 0
    return tuple(_member(n.address, number, min(pods[n.name], MOST_WEIGHT) if adaptive else 1) for n in ready)


def _pods(view: ClusterView, name: Name, port: ServicePort) -> Iterator[tuple[str, int, str]]:
    """Yield (address, port, node) of each ready Pod."""
    for piece in view.slices.get(name, ()):
        if port.name in piece.ports:
            for endpoint in piece.endpoints:
                if endpoint.ready:
                    yield endpoint.address, piece.ports[port.name], endpoint.node


def _member(address: str, port: int, weight: int) -> Member:
    return Member(
        id=f"@member/{address}:{port}",
        address=address,
        protocol_port=port,
        name=names.member_name(address, port),
        weight=weight,
    )
