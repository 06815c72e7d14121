"""Defaults and validation of Service, with upstream's order of errors.

``storage.ip_allocator`` allocates addresses and node ports and knows which are free.
Upstream: https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/core/validation/validation.go
(ValidateService)
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from certferry.kube.apiserver.errors import (
    FieldError,
    all_invalid,
    duplicate,
    forbidden_field,
    invalid,
    one_of,
    required,
    unsupported,
)
from certferry.kube.apiserver.resources import metadata, names
from certferry.kube.apiserver.resources.network import endpoint_address, port_name

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_FAMILIES = ("IPv4", "IPv6")
_BALANCED = "may only be used when `type` is 'LoadBalancer'"
_DAY = 86_400


def default_service(service: dict[str, Any]) -> None:
    """Set type, affinity, families, policies, and each port's protocol and target."""
    spec = service["spec"]
    kind = spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports", []):
        port.setdefault("protocol", "TCP")
        if port.get("targetPort", "") in ("", 0) and "port" in port:
            port["targetPort"] = port["port"]
    if kind in ("ClusterIP", "ExternalName") and spec.get("externalIPs"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["sessionAffinity"] == "ClientIP":
        client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        client.setdefault("timeoutSeconds", 10800)
    if kind != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("ipFamilies", ["IPv4"])
    if kind in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def carry_over_service(service: dict[str, Any], old: dict[str, Any]) -> None:
    """Keep addresses that an update leaves out; drop those that a new type does not have."""
    new, before = service["spec"], old["spec"]
    if new["type"] != before["type"]:
        _drop_by_type(new)
    if "ExternalName" in (new["type"], before["type"]):
        return
    for key in ("clusterIP", "clusterIPs"):
        if key in before:
            new.setdefault(key, before[key])
    # A change of one of the two changes both (NormalizeClusterIPs upstream).
    if new.get("clusterIP") != before.get("clusterIP") and new.get("clusterIPs") == before.get("clusterIPs"):
        new["clusterIPs"] = [new["clusterIP"]]


def _drop_by_type(spec: dict[str, Any]) -> None:
    dropped: list[str] = []
    if spec["type"] in ("ClusterIP", "ExternalName"):
        dropped.append("externalTrafficPolicy")
        for port in spec.get("ports", []):
            port.pop("nodePort", None)
    if spec["type"] == "ExternalName":
        dropped += ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]
    if spec["type"] != "LoadBalancer":
        dropped.append("allocateLoadBalancerNodePorts")
    for key in dropped:
        spec.pop(key, None)


def check_service(service: dict[str, Any], old: dict[str, Any] | None) -> Iterator[FieldError]:
    """Yield the errors of a Service; `old` is None for a new one."""
    spec = service["spec"]
    families = list(_families(spec))
    if families:  # the allocator reports these before all others
        yield from families
        return
    if old is not None:
        yield from _unchanged(spec, old["spec"])
    headless = spec.get("clusterIP") == "None"
    ports = spec.get("ports", [])
    if not ports and not headless and spec["type"] != "ExternalName":
        yield required("spec.ports")
    yield from _by_type(spec, headless)
    yield from _ports(ports)
    yield from metadata.labels(spec.get("selector", {}), "spec.selector")
    yield from _affinity(spec)
    address = spec.get("clusterIP", "")
    if address not in ("", "None") and names.address(address) is None:
        detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        yield invalid("spec.clusterIPs[0]", address, detail)
    for number, external in enumerate(spec.get("externalIPs", [])):
        yield from endpoint_address(external, f"spec.externalIPs[{number}]", loopback=False)
    yield from one_of("spec.type", spec["type"], _TYPES)
    yield from _numbers(ports, spec["type"])
    yield from _balancer(spec)
    yield from _policies(spec)


def _families(spec: dict[str, Any]) -> Iterator[FieldError]:
    for number, family in enumerate(spec.get("ipFamilies", [])):
        if family not in _FAMILIES:
            yield unsupported(f"spec.ipFamilies[{number}]", family, _FAMILIES)
        elif family in spec["ipFamilies"][:number]:
            yield duplicate(f"spec.ipFamilies[{number}]", family)


def _unchanged(spec: dict[str, Any], old: dict[str, Any]) -> Iterator[FieldError]:
    if "ExternalName" not in (spec["type"], old["type"]):
        addresses, before = spec.get("clusterIPs", []), old.get("clusterIPs", [])
        if before and addresses[:1] != before[:1]:
            yield invalid("spec.clusterIPs[0]", addresses, "may not change once set")
    if spec["type"] == old["type"] == "LoadBalancer":
        chosen = spec.get("loadBalancerClass")
        if chosen != old.get("loadBalancerClass"):
            yield invalid("spec.loadBalancerClass", chosen, "may not change once set")


def _by_type(spec: dict[str, Any], headless: bool) -> Iterator[FieldError]:
    kind = spec["type"]
    if kind in ("LoadBalancer", "NodePort") and headless:
        yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    if kind != "ExternalName":
        return
    for key in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(key):
            yield forbidden_field(f"spec.{key}", "may not be set for ExternalName services")
    name = spec.get("externalName", "").removesuffix(".")
    if not name:
        yield required("spec.externalName")
    yield from all_invalid("spec.externalName", name, names.subdomain(name) if name else ())


def _ports(ports: list[dict[str, Any]]) -> Iterator[FieldError]:
    seen: set[str] = set()
    for number, port in enumerate(ports):
        path = f"spec.ports[{number}]"
        yield from port_name(port.get("name", ""), path, seen, needed=len(ports) > 1)
        yield from all_invalid(f"{path}.port", port["port"], names.port_number(port["port"]))
        yield from one_of(f"{path}.protocol", port["protocol"], _PROTOCOLS)
        target = port.get("targetPort", 0)
        wrong = names.port_number(target) if isinstance(target, int) else names.port_name(target)
        yield from all_invalid(f"{path}.targetPort", target, wrong)
        if "appProtocol" in port:
            yield from all_invalid(f"{path}.appProtocol", port["appProtocol"], names.qualified(port["appProtocol"]))


def _affinity(spec: dict[str, Any]) -> Iterator[FieldError]:
    affinity = spec["sessionAffinity"]
    yield from one_of("spec.sessionAffinity", affinity, ("ClientIP", "None"))
    if affinity == "None" and "sessionAffinityConfig" in spec:
        detail = "must not be set when session affinity is None"
        yield forbidden_field("spec.sessionAffinityConfig", detail)
    if affinity == "ClientIP":
        seconds = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"]
        if not 0 < seconds <= _DAY:
            path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
            yield invalid(path, seconds, f"must be greater than 0 and less than {_DAY}")


def _numbers(ports: list[dict[str, Any]], kind: str) -> Iterator[FieldError]:
    node_ports: set[tuple[str, int]] = set()
    seen: set[tuple[str, int]] = set()
    for number, port in enumerate(ports):
        if kind == "ClusterIP" and port.get("nodePort"):
            yield forbidden_field(f"spec.ports[{number}].nodePort", "may not be used when `type` is 'ClusterIP'")
    for number, port in enumerate(ports):
        given = port.get("nodePort", 0)
        if given and (port["protocol"], given) in node_ports:
            yield duplicate(f"spec.ports[{number}].nodePort", given)
        node_ports.add((port["protocol"], given))
    for number, port in enumerate(ports):
        if (port["protocol"], port["port"]) in seen:
            yield duplicate(f"spec.ports[{number}]", {"protocol": port["protocol"], "port": port["port"]})
        seen.add((port["protocol"], port["port"]))


def _balancer(spec: dict[str, Any]) -> Iterator[FieldError]:
    balanced = spec["type"] == "LoadBalancer"
    ranges = spec.get("loadBalancerSourceRanges", [])
    if ranges and not balanced:
        yield forbidden_field("spec.LoadBalancerSourceRanges", _BALANCED)
    for number, text in enumerate(ranges):
        try:
            ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            yield invalid(f"spec.LoadBalancerSourceRanges[{number}]", text.strip(), detail)
    if "allocateLoadBalancerNodePorts" in spec and not balanced:
        yield forbidden_field("spec.allocateLoadBalancerNodePorts", _BALANCED)
    chosen = spec.get("loadBalancerClass")
    if chosen is not None and not balanced:
        yield forbidden_field("spec.loadBalancerClass", _BALANCED)
    elif chosen is not None:
        yield from all_invalid("spec.loadBalancerClass", chosen, names.qualified(chosen))


def _policies(spec: dict[str, Any]) -> Iterator[FieldError]:
    outside, inside = spec.get("externalTrafficPolicy", ""), spec.get("internalTrafficPolicy")
    reachable = spec["type"] in ("LoadBalancer", "NodePort") or bool(spec.get("externalIPs"))
    if outside and not reachable:
        detail = "may only be set for externally-accessible services"
        yield invalid("spec.externalTrafficPolicy", outside, detail)
    elif outside and outside not in ("Cluster", "Local"):
        yield unsupported("spec.externalTrafficPolicy", outside, ("Cluster", "Local"))
    if inside is not None:
        yield from one_of("spec.internalTrafficPolicy", inside, ("Cluster", "Local"))
