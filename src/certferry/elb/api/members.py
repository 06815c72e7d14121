"""Members (elb-v3-api.md 5): the addresses of a pool."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from certferry.elb.api.call import (
    Answer,
    Call,
    Route,
    asked,
    body_of,
    merged,
    times,
    unchanged,
    within_quota,
)
from certferry.elb.api.fields import Flag, Port, Reference, Text
from certferry.elb.api.health import member_status
from certferry.elb.api.listing import Resource, Wire, listing, showing
from certferry.elb.errors import conflict, malformed, over_quota
from certferry.elb.store.store import Transaction
from certferry.elb.store.world import Row, World

Weight = Annotated[int, Meta(ge=0, le=100)]


class MemberUpdate(Struct, frozen=True, kw_only=True):
    """What may be changed."""

    name: Text = UNSET
    weight: Weight | UnsetType | None = UNSET
    admin_state_up: Flag = UNSET
    protocol_port: Port | UnsetType = UNSET
    availability_zone: Text = UNSET


class MemberCreate(MemberUpdate, frozen=True, kw_only=True):
    """A new member; without subnet_cidr_id its address may be anywhere."""

    address: Annotated[str, Meta(max_length=64)]
    protocol_port: Port
    subnet_cidr_id: Reference = UNSET


_DEFAULTS: Final[dict[str, Any]] = {
    "name": "",
    "weight": 1,
    "admin_state_up": True,
    "protocol_port": None,
    "availability_zone": None,
    "subnet_cidr_id": None,
}


def render(call: Call, world: World, row: Row) -> Wire:
    """A member as answers show it."""
    data, status = row.data, member_status(call.plane(), world, row)
    return {
        "id": row.id,
        "project_id": row.project_id,
        **{field: data[field] for field in _DEFAULTS},
        "address": data["address"],
        "ip_version": "v6" if ":" in data["address"] else "v4",
        "member_type": "instance" if data["subnet_cidr_id"] else "ip",
        "instance_id": "",
        "operating_status": status,
        "status": [
            {"listener_id": listener.id, "operating_status": status}
            for listener in world.find("listener", "default_pool_id", data["pool_id"])
        ],
        "reason": None,
        **times(row),
    }


def create(call: Call) -> Answer:
    """POST: a new member of the pool."""
    body = body_of(call, "member", MemberCreate)
    data = merged(_DEFAULTS, body.given, _DEFAULTS) | {"address": _address(body.value.address)}

    def decide(transaction: Transaction) -> Row:
        world = transaction.world
        pool = asked(call, world, "pool", "pool_id")
        within_quota(world, call, "member")
        siblings, limit = world.find("member", "pool_id", pool.id), call.settings.limits.members_per_pool
        if 0 <= limit <= len(siblings):
            raise over_quota("members_per_pool", limit)
        _alone(data, siblings)
        return transaction.create("member", str(uuid.uuid4()), data | {"pool_id": pool.id})

    row, world = call.write(decide)
    return Answer(201, RESOURCE.one(call, world, row))


def update(call: Call) -> Answer:
    """PUT: the given fields."""
    body = body_of(call, "member", MemberUpdate)

    def decide(transaction: Transaction) -> Row:
        before = RESOURCE.row(call, transaction.world)
        unchanged(body, before, "address", "subnet_cidr_id")
        data = merged(before.data, body.given, _DEFAULTS)
        siblings = transaction.world.find("member", "pool_id", before.data["pool_id"])
        _alone(data, [row for row in siblings if row.id != before.id])
        return transaction.update(before, data)

    row, world = call.write(decide)
    return Answer(200, RESOURCE.one(call, world, row))


def remove(call: Call) -> Answer:
    """DELETE."""

    def decide(transaction: Transaction) -> None:
        row = RESOURCE.row(call, transaction.world)
        pool = transaction.world.get("pool", row.data["pool_id"])
        if pool is not None and pool.data["member_deletion_protection_enable"]:
            raise conflict(f"Members of pool {pool.id} are protected from deletion")
        transaction.delete(row)

    call.write(decide)
    return Answer(204)


def _alone(data: Mapping[str, Any], siblings: Any) -> None:
    place = (data["address"], data["protocol_port"])
    for row in siblings:
        if (row.data["address"], row.data["protocol_port"]) == place:
            raise conflict(f"Member {row.id} of this pool has the same address and port")


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise malformed("address is no IP address") from None


RESOURCE: Final = Resource(kind="member", plural="members", render=render, within=("pool", "pool_id"))
_EVERY: Final = Resource(kind="member", plural="members", render=render)

ROUTES: Final = (
    Route("GET", "/pools/{pool_id}/members", listing(RESOURCE), "List the members of a pool"),
    Route("POST", "/pools/{pool_id}/members", create, "Create a member", ("member", MemberCreate), 201),
    Route("GET", "/pools/{pool_id}/members/{id}", showing(RESOURCE), "Show a member"),
    Route("PUT", "/pools/{pool_id}/members/{id}", update, "Update a member", ("member", MemberUpdate)),
    Route("DELETE", "/pools/{pool_id}/members/{id}", remove, "Delete a member", status=204),
    Route("GET", "/members", listing(_EVERY), "List the members of all pools"),
)
