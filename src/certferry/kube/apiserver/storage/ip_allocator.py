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
_ON_THEIR_WAY = 500


class ServiceAllocator:
    """What is free in a network, given out in order. Belongs to one loop."""

    def __init__(self, cidr: str) -> None:
        self._network = ipaddress.ip_network(cidr)
        # On their way into the store; in order, so that the oldest can be forgotten.
        self._handed: dict[str | int, None] = {}
        self._last = 9

    def give(self, service: dict[str, Any], services: Iterable[Stored]) -> None:
        """Fill in what `service` leaves to the server. Raises ``Refused`` when what it asks for is taken."""
        spec = service["spec"]
        name = service["metadata"].get("name", "")
        if spec["type"] != "ExternalName":
            taken = self._taken(services, name, service["metadata"].get("namespace", ""))
            self._address(spec, name, taken)
            if spec["type"] in ("NodePort", "LoadBalancer") and spec.get(
                "allocateLoadBalancerNodePorts", True
            ):
                self._ports(spec, name, taken)

    def _address(self, spec: dict[str, Any], name: str, taken: set[str | int]) -> None:
        asked = spec.get("clusterIP") or (spec.get("clusterIPs") or [""])[0]
        if not asked:
            asked = next(self._free(taken))
            self._hand(asked)
        elif asked != "None" and asked in taken:
            detail = f"failed to allocate IP {asked}: provided IP is already allocated"
            raise _refused(name, invalid("spec.clusterIPs", [asked], detail))
        elif asked != "None" and not self._contains(asked):
            detail = f"failed to allocate IP {asked}: the provided network does not match the current range"
            raise _refused(name, invalid("spec.clusterIPs", [asked], detail))
        spec["clusterIP"], spec["clusterIPs"] = asked, [asked]

    def _ports(self, spec: dict[str, Any], name: str, taken: set[str | int]) -> None:
        for number, port in enumerate(spec.get("ports", [])):
            asked = port.get("nodePort")
            if asked and asked in taken:
                detail = "provided port is already allocated"
                raise _refused(name, invalid(f"spec.ports[{number}].nodePort", asked, detail))
            if asked and asked not in _NODE_PORTS:
                detail = "provided port is not in the valid range. The range of valid ports is 30000-32767"
                raise _refused(name, invalid(f"spec.ports[{number}].nodePort", asked, detail))
            if not asked:
                port["nodePort"] = next(n for n in _NODE_PORTS if n not in taken)
            self._hand(port["nodePort"])
            taken.add(port["nodePort"])

    def _hand(self, number: str | int) -> None:
        self._handed[number] = None
        # What never arrived (a dry run, a full disk) is free again in time.
        if len(self._handed) > _ON_THEIR_WAY:
            del self._handed[next(iter(self._handed))]

    def _contains(self, address: str) -> bool:
        try:
            return ipaddress.ip_address(address) in self._network
        except ValueError:
            return True  # the rules of the kind have a better sentence

    def _free(self, taken: set[str | int]) -> Iterator[str]:
        size = self._network.num_addresses
        for step in range(1, size):
            offset = (self._last + step) % size
            address = str(self._network[offset])
            if offset not in (0, 1, size - 1) and address not in taken:
                self._last = offset
                yield address
        raise internal("no cluster address is left for a Service")

    def _taken(self, services: Iterable[Stored], name: str, namespace: str) -> set[str | int]:
        stored: set[str | int] = set()
        for other in services:
            spec = msgspec.json.decode(other.body)["spec"]
            found = {
                *spec.get("clusterIPs", []),
                *(p["nodePort"] for p in spec.get("ports", []) if p.get("nodePort")),
            }
            # What is stored is known from there; only what is on its way must be remembered.
            for number in found & self._handed.keys():
                del self._handed[number]
            if (other.name, other.namespace) != (name, namespace):
                stored |= found
        return stored | self._handed.keys()


def _refused(name: str, fault: FieldError) -> Exception:
    return unprocessable("", "Service", name, [fault])
