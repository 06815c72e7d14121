"""Allocation of cluster IPs and node ports to Services.

Nothing routes to these numbers. They are unique and stable, because clients and controllers read them.
Upstream: https://github.com/kubernetes/kubernetes/tree/master/pkg/registry/core/service
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
    """Free addresses of a network and free node ports, allocated in order. Belongs to one event loop."""

    def __init__(self, cidr: str) -> None:
        self._network = ipaddress.ip_network(cidr)
        # Allocated but not stored yet, oldest first.
        self._reserved: dict[str | int, None] = {}
        self._last = 9

    def allocate(self, service: dict[str, Any], services: Iterable[Stored]) -> None:
        """Fill in the numbers that `service` leaves open. Raises ``ApiStatus`` 422 for an allocated one."""
        spec = service["spec"]
        name = service["metadata"].get("name", "")
        if spec["type"] != "ExternalName":
            allocated = self._allocated(services, name, service["metadata"].get("namespace", ""))
            self._allocate_address(spec, name, allocated)
            if spec["type"] in ("NodePort", "LoadBalancer") and spec.get("allocateLoadBalancerNodePorts", True):
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
            detail = f"failed to allocate IP {requested}: the provided network does not match the current range"
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
        # A number that is never stored (a dry run, a full disk) becomes free again.
        if len(self._reserved) > _MAX_RESERVED:
            del self._reserved[next(iter(self._reserved))]

    def _contains(self, address: str) -> bool:
        try:
            return ipaddress.ip_address(address) in self._network
        except ValueError:
            return True  # the validation of Services reports it better

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
            # A stored number needs no reservation any more.
            for number in numbers & self._reserved.keys():
                del self._reserved[number]
            if (other.name, other.namespace) != (name, namespace):
                stored |= numbers
        return stored | self._reserved.keys()


def _refused(name: str, fault: FieldError) -> Exception:
    return unprocessable("", "Service", name, [fault])
