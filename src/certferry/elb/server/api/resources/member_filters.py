"""Filters by member that lists of pools, listeners and load balancers share (elb-v3-api.md 8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from certferry.elb.server.api.listing import Fits, Wire
from certferry.elb.server.store.tables import Row, StoreSnapshot


def _pool_ids(snapshot: StoreSnapshot, wire: Wire) -> set[str]:
    """Return the pools of a wire object: itself, its pools, or those that a listener sends to."""
    if "lb_algorithm" in wire:
        return {wire["id"]}
    if "pools" in wire:
        return {one["id"] for one in wire["pools"]}
    policies = snapshot.find("l7policy", "listener_id", wire["id"])
    shares = (share["pool_id"] for row in policies for share in row.data["redirect_pools_config"] or ())
    own = (wire["default_pool_id"], *(row.data["redirect_pool_id"] for row in policies), *shares)
    return {one for one in own if one}


def _members(snapshot: StoreSnapshot, wire: Wire) -> Iterator[Row]:
    for pool_id in _pool_ids(snapshot, wire):
        yield from snapshot.find("member", "pool_id", pool_id)


def _by_address(snapshot: StoreSnapshot, wire: Wire, wanted: set[str]) -> bool:
    return any(row.data["address"] in wanted for row in _members(snapshot, wire))


def _by_device(snapshot: StoreSnapshot, wire: Wire, wanted: set[str]) -> bool:
    return False  # members here are addresses: no server of a cloud is known behind them


MEMBER_FILTERS: Final[dict[str, Fits]] = {
    "member_address": _by_address,
    "member_device_id": _by_device,
    "member_instance_id": _by_device,
}
