"""The address and ports of a load balancer.

Each has its own address in the network of the settings. If only one address exists, all share it, and the ports of
each are shifted by another ten thousand.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from certferry.core.model.elb import LoadBalancer, bind_port
from certferry.elb.server.errors import ApiError, bad_request, conflict
from certferry.elb.server.store.tables import Row, StoreSnapshot
from certferry.settings import ElbSettings

_FIRST: Final = 10
_APART: Final = 10_000
_SHARING: Final = 6
"""Load balancers on one address; further shifts would leave the range of ports."""


def allocate(snapshot: StoreSnapshot, settings: ElbSettings, wanted: str | None) -> dict[str, Any]:
    """Return ``vip_address``, ``port_shift`` and ``privileged_shift`` of a new load balancer.

    `wanted`: the requested address. Raises ApiError if it is not available.
    """
    privileged = {"privileged_shift": settings.privileged_shift}
    if shared := settings.vip_shared_address:
        if wanted and wanted != shared:
            raise bad_request(f"vip_address: every load balancer here has the address {shared}")
        return {"vip_address": shared, "port_shift": _free_shift(snapshot, shared), **privileged}
    return {"vip_address": _free_address(snapshot, settings, wanted), "port_shift": 0, **privileged}


def bind_of(loadbalancer: Row, port: int) -> int:
    """Return the port on which the listener port `port` is bound."""
    shifts = {field: loadbalancer.data[field] for field in ("privileged_shift", "port_shift")}
    return bind_port(LoadBalancer(id=loadbalancer.id, **shifts), port)


def check_port(snapshot: StoreSnapshot, loadbalancer: Row, port: int, transport: str) -> None:
    """Raise ApiError when a listener of `loadbalancer` cannot have `port` of `transport` (tcp or udp)."""
    wanted = bind_of(loadbalancer, port)
    if wanted > 65_535:
        raise bad_request(f"protocol_port {port} cannot be reached: this load balancer's ports are moved to {wanted}")
    for sibling in snapshot.find("loadbalancer", "vip_address", loadbalancer.data["vip_address"]):
        for listener in snapshot.find("listener", "loadbalancer_id", sibling.id):
            if listener.data["transport"] == transport and bind_of(sibling, listener.data["protocol_port"]) == wanted:
                raise conflict(
                    f"protocol_port {port} is used by listener {listener.id}"
                    + ("" if sibling.id == loadbalancer.id else f" of load balancer {sibling.id}")
                )


def _free_shift(snapshot: StoreSnapshot, address: str) -> int:
    taken = {row.data["port_shift"] for row in snapshot.find("loadbalancer", "vip_address", address)}
    for n in range(_SHARING):
        if n * _APART not in taken:
            return n * _APART
    raise ApiError(400, "ELB.8950", f"At most {_SHARING} load balancers can share the address {address}")


def _free_address(snapshot: StoreSnapshot, settings: ElbSettings, wanted: str | None) -> str:
    network = ipaddress.ip_network(settings.vip_subnet)
    if wanted:
        address = _parsed(wanted)
        if address not in network or address in (network.network_address, network.broadcast_address):
            raise bad_request(f"vip_address {wanted} is not in the network {network}")
        if snapshot.count("loadbalancer", "vip_address", str(address)):
            raise conflict(f"vip_address {address} is used by another load balancer")
        return str(address)
    for n in range(_FIRST, network.num_addresses - 1):
        if not snapshot.count("loadbalancer", "vip_address", str(network[n])):
            return str(network[n])
    raise ApiError(400, "ELB.8950", f"The network {network} has no address left")


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise bad_request("vip_address is no IP address") from None
