"""Services of type LoadBalancer as claimants of listeners, beside Ingresses.

Each port of a Service is one claim. The rest of the translation sees an ``Ingress`` without rules, whose default
backend is the Service itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import msgspec

from certferry.core.model.kubernetes import Backend, ClusterView, Ingress, Name, Service, ServicePort, TlsEntry
from certferry.core.model.problems import Problem
from certferry.core.translate.ingress_annotations import PREFIX
from certferry.core.translate.services.listener_annotations import ServiceValues, read

ServiceSelection = Literal["class", "annotation", "off"]
"""The Services of type LoadBalancer to serve: those whose loadBalancerClass is ours; also those that have no class and
the annotation ``elb.class``; none."""
CLASS: Final = f"{PREFIX}class"
KIND: Final = "Service"


class PortClaim(NamedTuple):
    """A protocol and port of a claimant, and the backend of all that arrives there."""

    protocol: str
    port: int
    backend: Backend | None = None


class ServiceClaimant(NamedTuple):
    """A Service, its values and the ports that it claims."""

    claimant: Ingress
    values: ServiceValues
    ports: tuple[PortClaim, ...]
    problems: tuple[Problem, ...]


def is_ours(service: Service, class_name: str, selection: ServiceSelection) -> bool:
    """Return whether `service` is ours to serve, or was before its deletion began."""
    if service.type != "LoadBalancer" or selection == "off":
        return False
    if service.load_balancer_class is not None:
        return service.load_balancer_class == class_name
    return selection == "annotation" and CLASS in service.meta.annotations


def owned_services(view: ClusterView, class_name: str, selection: ServiceSelection) -> list[Service]:
    """Return the Services that are ours and not being deleted."""
    return [s for s in view.services.values() if not s.deleting and is_ours(s, class_name, selection)]


def claimant(service: Service) -> ServiceClaimant:
    """Return `service` as a claimant."""
    values, problems = read(service)
    more: list[Problem] = []
    ports = tuple(_ports(service, values, more))
    tls: tuple[TlsEntry, ...] = ()
    if values.tls_secret or values.tls_hosts:
        tls = (TlsEntry(secret=values.tls_secret or "", hosts=values.tls_hosts),)
    made = Ingress(meta=msgspec.structs.replace(service.meta, kind=KIND), class_name=None, tls=tls)
    return ServiceClaimant(made, values, ports, (*problems, *more))


def claimant_of(view: ClusterView, name: Name) -> Ingress | None:
    """Return the Ingress or Service `name` as a claimant; None if there is none."""
    if name.kind == KIND:
        service = view.services.get(Name(name.namespace, name.name))
        return claimant(service).claimant if service else None
    return view.ingresses.get(name)


def _ports(service: Service, values: ServiceValues, problems: list[Problem]) -> Iterator[PortClaim]:
    def ignored(sentence: str) -> None:
        problems.append(Problem(object=service.ref, reason="AnnotationInvalid", sentence=sentence))

    asked = dict(values.protocols or {})
    for port in service.ports:
        protocol = _protocol(port, asked)
        if protocol is None:
            ignored(f"Port {port.port}/{port.protocol} is not served: a load balancer carries TCP and UDP.")
            continue
        yield PortClaim(protocol, port.port, Backend(service=service.meta.name, port=port.name or port.port))
    tcp = {port.port for port in service.ports if port.protocol == "TCP"}
    for number, protocol in sorted(asked.items()):
        if number not in tcp:
            ignored(
                f"Annotation {PREFIX}protocol-port names {protocol} port {number}, which is no TCP port of the Service."
            )


def _protocol(port: ServicePort, asked: dict[int, str]) -> str | None:
    if port.protocol == "TCP":
        return asked.get(port.port, "TCP")
    return "UDP" if port.protocol == "UDP" else None
