"""Cluster addresses and node ports of Services: given out once each, as the real allocators do.

`api` calls ``give`` before a Service is stored. Nothing here routes anything: the numbers only have
to be unique and stable, because clients and controllers read them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from certferry.kube.apiserver.errors import FieldError, internal, invalid, unprocessable
from certferry.kube.apiserver.storage.log import Stored

_NODE_PORTS = range(30_000, 32_768)
_MAX_RESERVED = 500


class ServiceAllocator:
    """What is free in a network, given out in order. Belongs to one loop."""

    def __init__(self, cidr: str) -> None:
        self._network = ipaddress.ip_network(cidr)
        # On their way into the store; in order, so that the oldest can be forgotten.
        self._reserved: dict[str | int, None] = {}
        self._last = 9

    def allocate(self, service: dict[str, Any], services: Iterable[Stored]) -> None:
        """Fill in what `service` leaves to the server. Raises ``Refused`` when what it asks for is taken."""
        spec = service["spec"]
        name = service["metadata"].get("name", "")
        if spec["type"] != "ExternalName":
            allocated = self._allocated(services, name, service["metadata"].get("namespace", ""))
            self._allocate_address(spec, name, allocated)
            if spec["type"] in ("NodePort", "LoadBalancer") and spec.get(
                "allocateLoadBalancerNodePorts", True
            ):
                self._allocate_ports(spec, name, allocated)

    def _allocate_address(self, spec: dict[str, Any], name: str, allocated: set[str | int]) -> None:
        requested = spec.get("clusterIP") or (spec.get("clusterIPs") or [""])[0]
        if not requested:
            requested = next(self._free(allocated))
            self._reserve(requested)
        elif requested != "None" and requested in allocated:
            detail = f"failed to allocate IP {requested}: provided IP is already allocated"
            raise _refused(name, invalid("spec.clusterIPs", [requested], detail))
        elif requested != "None" and not self._contains(requested):
            detail = (
                f"failed to allocate IP {requested}: the provided network does not match the current range"
            )
            raise _refused(name, invalid("spec.clusterIPs", [requested], detail))
        spec["clusterIP"], spec["clusterIPs"] = requested, [requested]

    def _allocate_ports(self, spec: dict[str, Any], name: str, allocated: set[str | int]) -> None:
        for number, port in enumerate(spec.get("ports", [])):
            requested = port.get("nodePort")
            if requested and requested in allocated:
                detail = "provided port is already allocated"
                raise _refused(name, invalid(f"spec.ports[{number}].nodePort", requested, detail))
            if requested and requested not in _NODE_PORTS:
                detail = "provided port is not in the valid range. The range of valid ports is 30000-32767"
                raise _refused(name, invalid(f"spec.ports[{number}].nodePort", requested, detail))
            if not requested:
                port["nodePort"] = next(n for n in _NODE_PORTS if n not in allocated)
            self._reserve(port["nodePort"])
            allocated.add(port["nodePort"])

    def _reserve(self, number: str | int) -> None:
        self._reserved[number] = None
        # What never arrived (a dry run, a full disk) is free again in time.
        if len(self._reserved) > _MAX_RESERVED:
            del self._reserved[next(iter(self._reserved))]

    def _contains(self, address: str) -> bool:
        try:
            return ipaddress.ip_address(address) in self._network
        except ValueError:
            return True  # the rules of the kind have a better sentence

    def _free(self, allocated: set[str | int]) -> Iterator[str]:
        size = self._network.num_addresses
        for step in range(1, size):
            offset = (self._last + step) % size
            address = str(self._network[offset])
            if offset not in (0, 1, size - 1) and address not in allocated:
                self._last = offset
                yield address
        raise internal("no cluster address is left for a Service")

    def _allocated(self, services: Iterable[Stored], name: str, namespace: str) -> set[str | int]:
        stored: set[str | int] = set()
        for other in services:
            spec = msgspec.json.decode(other.body)["spec"]
            numbers = {
                *spec.get("clusterIPs", []),
                *(p["nodePort"] for p in spec.get("ports", []) if p.get("nodePort")),
            }
            # What is stored is known from there; only what is on its way must be remembered.
            for number in numbers & self._reserved.keys():
                del self._reserved[number]
            if (other.name, other.namespace) != (name, namespace):
                stored |= numbers
        return stored | self._reserved.keys()


def _refused(name: str, fault: FieldError) -> Exception:
    return unprocessable("", "Service", name, [fault])
