"""Defaults and validation of Endpoints, EndpointSlice, Event, Lease and Namespace.

Upstream: validation.go of https://github.com/kubernetes/kubernetes/tree/master/pkg/apis in core, discovery
and coordination
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from certferry.kube.apiserver.errors import (
    FieldError,
    all_invalid,
    duplicate,
    immutable,
    invalid,
    one_of,
    required,
    too_many,
    unsupported,
)
from certferry.kube.apiserver.resources import names

_PROTOCOLS = ("SCTP", "TCP", "UDP")


def port_name(name: str, path: str, seen: set[str], *, needed: bool) -> Iterator[FieldError]:
    """Yield the errors of a port's name; `seen` has the names before it."""
    if not name:
        if needed:
            yield required(f"{path}.name")
        return
    yield from all_invalid(f"{path}.name", name, names.label(name))
    if name in seen:
        yield duplicate(f"{path}.name", name)
    seen.add(name)


def default_slice(found: dict[str, Any]) -> None:
    """Set names and protocols of ports."""
    for port in found.get("ports") or []:
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def default_endpoints(found: dict[str, Any]) -> None:
    """Set protocols of ports."""
    for subset in found.get("subsets", []):
        for port in subset.get("ports", []):
            port.setdefault("protocol", "TCP")


def check_endpoints(
    found: dict[str, Any], old: dict[str, Any] | None, *, loopback: bool = False
) -> Iterator[FieldError]:
    """Yield the errors of Endpoints. `loopback`: loopback addresses are allowed."""
    for number, subset in enumerate(found.get("subsets", [])):
        path = f"subsets[{number}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            yield required(path, "must specify `addresses` or `notReadyAddresses`")
        for key in ("addresses", "notReadyAddresses"):
            for at, address in enumerate(subset.get(key, [])):
                yield from endpoint_address(address["ip"], f"{path}.{key}[{at}].ip", loopback=loopback)
                if names.address(address["ip"]) is None:
                    yield invalid(f"{path}.{key}[{at}].ip", address["ip"], "must be a valid IP address")
        ports = subset.get("ports", [])
        for at, port in enumerate(ports):
            if len(ports) > 1 and not port.get("name"):
                yield required(f"{path}.ports[{at}].name")
            yield from all_invalid(f"{path}.ports[{at}].port", port["port"], names.port_number(port["port"]))
            yield from one_of(f"{path}.ports[{at}].protocol", port["protocol"], _PROTOCOLS)


def check_slice(ports: dict[str, Any], old: dict[str, Any] | None, *, loopback: bool = False) -> Iterator[FieldError]:
    """Yield the errors of an EndpointSlice. `loopback`: loopback addresses are allowed."""
    kind = ports.get("addressType", "")
    if old is not None and kind != old.get("addressType"):
        yield immutable("addressType", kind)
    if not kind:
        yield required("addressType")
    elif kind not in ("FQDN", "IPv4", "IPv6"):
        yield unsupported("addressType", kind, ("FQDN", "IPv4", "IPv6"))
    seen: set[str] = set()
    for number, port in enumerate(ports.get("ports") or []):
        yield from port_name(port["name"], f"ports[{number}]", seen, needed=False)
        yield from one_of(f"ports[{number}].protocol", port["protocol"], _PROTOCOLS)
    endpoints = ports.get("endpoints") or []
    if len(endpoints) > 1000:
        yield too_many("endpoints", len(endpoints), 1000)
        return
    for number, endpoint in enumerate(endpoints):
        yield from _endpoint(endpoint.get("addresses") or [], kind, f"endpoints[{number}].addresses", loopback=loopback)
    # Upstream reports its declarative validation after the handwritten one.
    for number, endpoint in enumerate(endpoints):
        if not endpoint.get("addresses"):
            yield required(f"endpoints[{number}].addresses")


def _endpoint(addresses: list[str], kind: str, path: str, *, loopback: bool) -> Iterator[FieldError]:
    if len(addresses) > 100:
        yield too_many(path, len(addresses), 100)
    for number, address in enumerate(addresses):
        if kind == "FQDN":
            yield from all_invalid(f"{path}[{number}]", address, names.subdomain(address))
        else:
            yield from _family(address, kind, path)
            yield from endpoint_address(address, f"{path}[{number}]", loopback=loopback)


def _family(address: str, kind: str, path: str) -> Iterator[FieldError]:
    found = names.address(address)
    if found is not None and kind in ("IPv4", "IPv6") and found.version != int(kind[3]):
        yield invalid(path, address, f"must be an {kind} address")


def endpoint_address(address: str, path: str, *, loopback: bool) -> Iterator[FieldError]:
    """Yield the errors of a backend's address."""
    ip = names.address(address)
    if ip is None:
        yield invalid(path, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
        return
    if ip.is_unspecified:
        yield invalid(path, address, f"may not be unspecified ({address})")
    if ip.is_loopback and not loopback:
        yield invalid(path, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if ip.is_link_local:
        yield invalid(path, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")


def check_event(event: dict[str, Any], old: dict[str, Any] | None) -> Iterator[FieldError]:
    """Require that an Event is in the namespace of its object."""
    involved, space = event["involvedObject"].get("namespace", ""), event["metadata"].get("namespace", "")
    # An Event on a cluster-scoped object is in `default`; one with an eventTime may be in
    # kube-system (events.go, legacyValidateEvent).
    places = {involved} if involved else {"default"} | ({"kube-system"} if event["eventTime"] else set())
    if space not in places and not (involved and event["eventTime"]):
        yield invalid("involvedObject.namespace", involved, "does not match event.namespace")


def check_lease(lease: dict[str, Any], old: dict[str, Any] | None) -> Iterator[FieldError]:
    """Require positive durations and a transition count that is not negative."""
    spec = lease.get("spec", {})
    seconds, moves = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        yield invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0")
    if moves is not None and moves < 0:
        yield invalid("spec.leaseTransitions", moves, "must be greater than or equal to 0")


def default_namespace(namespace: dict[str, Any]) -> None:
    """Set the label with its name."""
    name = namespace["metadata"].get("name")
    if name:
        namespace["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name


def prepare_namespace(namespace: dict[str, Any]) -> None:
    """Set the finalizer that protects its contents, and the phase."""
    namespace["spec"].setdefault("finalizers", ["kubernetes"])
    namespace["status"].setdefault("phase", "Active")
