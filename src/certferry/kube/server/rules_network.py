"""Service, Endpoints, EndpointSlice, Event and Lease: defaults and rules, with the real server's sentences.

Cluster addresses are given out by `registry`, which knows which are taken; here they are only judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from certferry.kube.server import metadata, names
from certferry.kube.server.status import (
    Fault,
    duplicate,
    forbidden_field,
    immutable,
    invalid,
    required,
    too_many,
    unsupported,
)

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")


def default_service(service: dict[str, Any]) -> None:
    """Type, affinity, families, policies, and of each port the protocol and the target."""
    spec = service["spec"]
    kind = spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports", []):
        port.setdefault("protocol", "TCP")
        if port.get("targetPort", "") in ("", 0) and "port" in port:
            port["targetPort"] = port["port"]
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


def keep_service(service: dict[str, Any], old: dict[str, Any]) -> None:
    """An update that leaves the addresses out keeps them; a change of type drops what belonged to the old one."""
    new, before = service["spec"], old["spec"]
    if new["type"] != before["type"]:
        _drop_by_type(new)
    if "ExternalName" in (new["type"], before["type"]):
        return
    for key in ("clusterIP", "clusterIPs"):
        if key in before:
            new.setdefault(key, before[key])


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


def check_service(service: dict[str, Any], old: dict[str, Any] | None) -> Iterator[Fault]:
    """What is wrong with a Service, new or in the place of `old`."""
    spec = service["spec"]
    headless = spec.get("clusterIP") == "None"
    ports = spec.get("ports", [])
    if old is not None and "ExternalName" not in (spec["type"], old["spec"]["type"]):
        before = old["spec"].get("clusterIPs", [])
        if spec.get("clusterIPs", [])[:1] != before[:1]:
            yield invalid("spec.clusterIPs[0]", spec.get("clusterIPs"), "may not change once set")
    if not ports and not headless and spec["type"] != "ExternalName":
        yield required("spec.ports")
    yield from _service_type(spec, headless)
    yield from _service_ports(ports, spec["type"])
    yield from metadata.labels(spec.get("selector", {}), "spec.selector")
    if spec["sessionAffinity"] not in ("ClientIP", "None"):
        yield unsupported("spec.sessionAffinity", spec["sessionAffinity"], ("ClientIP", "None"))
    address = spec.get("clusterIP", "")
    if address not in ("", "None") and names.address(address) is None:
        yield invalid(
            "spec.clusterIPs[0]", address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        )
    for number, external in enumerate(spec.get("externalIPs", [])):
        yield from _endpoint_address(external, f"spec.externalIPs[{number}]", loopback=False)


def _service_type(spec: dict[str, Any], headless: bool) -> Iterator[Fault]:
    kind = spec["type"]
    if kind not in _SERVICE_TYPES:
        yield unsupported("spec.type", kind, _SERVICE_TYPES)
    if kind in ("LoadBalancer", "NodePort") and headless:
        yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    if kind == "ExternalName":
        name = spec.get("externalName", "").removesuffix(".")
        if not name:
            yield required("spec.externalName")
        else:
            for text in names.subdomain(name):
                yield invalid("spec.externalName", name, text)
        if spec.get("clusterIPs"):
            yield forbidden_field("spec.clusterIPs", "may not be set for ExternalName services")


def _service_ports(ports: list[dict[str, Any]], kind: str) -> Iterator[Fault]:
    seen_names: set[str] = set()
    seen_ports: set[tuple[str, int]] = set()
    for number, port in enumerate(ports):
        path = f"spec.ports[{number}]"
        yield from _port_name(port.get("name", ""), path, seen_names, needed=len(ports) > 1)
        value = port.get("port", 0)
        for text in names.port_number(value):
            yield invalid(f"{path}.port", value, text)
        if port["protocol"] not in _PROTOCOLS:
            yield unsupported(f"{path}.protocol", port["protocol"], _PROTOCOLS)
        target = port.get("targetPort", 0)
        wrong = names.port_number(target) if isinstance(target, int) else names.port_name(target)
        for text in wrong:
            yield invalid(f"{path}.targetPort", target, text)
        if kind == "ClusterIP" and port.get("nodePort"):
            yield forbidden_field(f"{path}.nodePort", "may not be used when `type` is 'ClusterIP'")
        if (port["protocol"], value) in seen_ports:
            yield duplicate(path, {"protocol": port["protocol"], "port": value})
        seen_ports.add((port["protocol"], value))


def _port_name(name: str, path: str, seen: set[str], *, needed: bool) -> Iterator[Fault]:
    if not name:
        if needed:
            yield required(f"{path}.name")
        return
    for text in names.label(name):
        yield invalid(f"{path}.name", name, text)
    if name in seen:
        yield duplicate(f"{path}.name", name)
    seen.add(name)


def default_slice(found: dict[str, Any]) -> None:
    """Names and protocols of ports."""
    for port in found.get("ports") or []:
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def check_slice(found: dict[str, Any], old: dict[str, Any] | None) -> Iterator[Fault]:
    """With the stock rule: no loopback addresses."""
    return _slice(found, old, loopback=False)


def check_slice_loopback(found: dict[str, Any], old: dict[str, Any] | None) -> Iterator[Fault]:
    """With loopback addresses allowed, for a single machine whose backends listen there."""
    return _slice(found, old, loopback=True)


def default_endpoints(found: dict[str, Any]) -> None:
    """Protocols of ports."""
    for subset in found.get("subsets", []):
        for port in subset.get("ports", []):
            port.setdefault("protocol", "TCP")


def check_endpoints(found: dict[str, Any], old: dict[str, Any] | None) -> Iterator[Fault]:
    """With the stock rule: no loopback addresses."""
    return _subsets(found, loopback=False)


def check_endpoints_loopback(found: dict[str, Any], old: dict[str, Any] | None) -> Iterator[Fault]:
    """With loopback addresses allowed, as in an EndpointSlice."""
    return _subsets(found, loopback=True)


def _subsets(found: dict[str, Any], *, loopback: bool) -> Iterator[Fault]:
    for number, subset in enumerate(found.get("subsets", [])):
        path = f"subsets[{number}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            yield required(path, "must specify `addresses` or `notReadyAddresses`")
        for key in ("addresses", "notReadyAddresses"):
            for at, address in enumerate(subset.get(key, [])):
                yield from _endpoint_address(address["ip"], f"{path}.{key}[{at}].ip", loopback=loopback)
        ports = subset.get("ports", [])
        for at, port in enumerate(ports):
            if len(ports) > 1 and not port.get("name"):
                yield required(f"{path}.ports[{at}].name")
            for text in names.port_number(port["port"]):
                yield invalid(f"{path}.ports[{at}].port", port["port"], text)
            if port["protocol"] not in _PROTOCOLS:
                yield unsupported(f"{path}.ports[{at}].protocol", port["protocol"], _PROTOCOLS)


def _slice(found: dict[str, Any], old: dict[str, Any] | None, *, loopback: bool) -> Iterator[Fault]:
    kind = found.get("addressType", "")
    if old is not None and kind != old.get("addressType"):
        yield immutable("addressType", kind)
    if not kind:
        yield required("addressType")
    elif kind not in ("FQDN", "IPv4", "IPv6"):
        yield unsupported("addressType", kind, ("FQDN", "IPv4", "IPv6"))
    seen: set[str] = set()
    for number, port in enumerate(found.get("ports") or []):
        yield from _port_name(port["name"], f"ports[{number}]", seen, needed=False)
        if port["protocol"] not in _PROTOCOLS:
            yield unsupported(f"ports[{number}].protocol", port["protocol"], _PROTOCOLS)
    endpoints = found.get("endpoints") or []
    if len(endpoints) > 1000:
        yield too_many("endpoints", len(endpoints), 1000)
        return
    for number, endpoint in enumerate(endpoints):
        yield from _endpoint(
            endpoint.get("addresses") or [], kind, f"endpoints[{number}].addresses", loopback=loopback
        )


def _endpoint(addresses: list[str], kind: str, path: str, *, loopback: bool) -> Iterator[Fault]:
    if not addresses:
        yield required(path, "must contain at least 1 address")
    if len(addresses) > 100:
        yield too_many(path, len(addresses), 100)
    for number, address in enumerate(addresses):
        if kind == "FQDN":
            for text in names.subdomain(address):
                yield invalid(f"{path}[{number}]", address, text)
        else:
            yield from _family(address, kind, path)
            yield from _endpoint_address(address, f"{path}[{number}]", loopback=loopback)


def _family(address: str, kind: str, path: str) -> Iterator[Fault]:
    found = names.address(address)
    if found is not None and kind in ("IPv4", "IPv6") and found.version != int(kind[3]):
        yield invalid(path, address, f"must be an {kind} address")


def _endpoint_address(address: str, path: str, *, loopback: bool) -> Iterator[Fault]:
    found = names.address(address)
    if found is None:
        yield invalid(path, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
        return
    if found.is_unspecified:
        yield invalid(path, address, f"may not be unspecified ({address})")
    if found.is_loopback and not loopback:
        yield invalid(path, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if found.is_link_local:
        yield invalid(path, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")


def check_event(event: dict[str, Any], old: dict[str, Any] | None) -> Iterator[Fault]:
    """An Event stands in the namespace of what it is about."""
    involved, space = event["involvedObject"].get("namespace", ""), event["metadata"].get("namespace", "")
    # An Event on an object without a namespace stands in `default`; one with an eventTime also in
    # kube-system (events.go, legacyValidateEvent).
    places = {involved} if involved else {"default"} | ({"kube-system"} if event["eventTime"] else set())
    if space not in places and not (involved and event["eventTime"]):
        yield invalid("involvedObject.namespace", involved, "does not match event.namespace")


def check_lease(lease: dict[str, Any], old: dict[str, Any] | None) -> Iterator[Fault]:
    """Durations are positive, transitions not negative."""
    spec = lease.get("spec", {})
    seconds, moves = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        yield invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0")
    if moves is not None and moves < 0:
        yield invalid("spec.leaseTransitions", moves, "must be greater than or equal to 0")


def default_namespace(namespace: dict[str, Any]) -> None:
    """The label with its name."""
    name = namespace["metadata"].get("name")
    if name:
        namespace["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name


def begin_namespace(namespace: dict[str, Any]) -> None:
    """The finalizer that holds its contents, and the phase."""
    namespace["spec"].setdefault("finalizers", ["kubernetes"])
    namespace["status"].setdefault("phase", "Active")
