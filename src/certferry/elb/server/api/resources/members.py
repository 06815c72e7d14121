"""Members (elb-v3-api.md 5): the addresses of a pool."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from certferry.elb.server.api.fields import Flag, Port, Reference, Text
from certferry.elb.server.api.listing import Resource, Wire, listing
from certferry.elb.server.api.request import ApiRequest, Body, Route, merged, path_object, within_quota
from certferry.elb.server.api.resources.crud import Crud, wire
from certferry.elb.server.api.status_tree import member_status
from certferry.elb.server.errors import ApiError, bad_request, conflict, over_quota
from certferry.elb.server.store.tables import Row, StoreSnapshot
from certferry.elb.server.store.transaction import Transaction

Weight = Annotated[int, Meta(ge=0, le=100)]


class MemberUpdate(Struct, frozen=True, kw_only=True):
    """The fields that a PUT may change."""

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


def render(call: ApiRequest, snapshot: StoreSnapshot, row: Row) -> Wire:
    """Return a member as answers show it."""
    data, status = row.data, member_status(call.plane(), snapshot, row)
    return wire(
        row,
        _DEFAULTS,
        address=data["address"],
        ip_version="v6" if ":" in data["address"] else "v4",
        member_type="instance" if data["subnet_cidr_id"] else "ip",
        instance_id="",
        operating_status=status,
        status=[
            {"listener_id": listener.id, "operating_status": status}
            for listener in snapshot.find("listener", "default_pool_id", data["pool_id"])
        ],
        reason=None,
    )


def new_data(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a new member. Raises ApiError (400)."""
    return merged(_DEFAULTS, given, _DEFAULTS) | {"address": _address(given["address"])}


def add(transaction: Transaction, call: ApiRequest, pool: Row, data: Mapping[str, Any]) -> Row:
    """Add a member to `pool`. Raises ApiError (400, 409)."""
    snapshot = transaction.snapshot
    within_quota(snapshot, call, "member")
    siblings, limit = snapshot.find("member", "pool_id", pool.id), call.settings.limits.members_per_pool
    if 0 <= limit <= len(siblings):
        raise over_quota("members_per_pool", limit)
    home = snapshot.get("loadbalancer", pool.data["loadbalancer_id"])
    if home is not None and not data["subnet_cidr_id"] and not home.data["ip_target_enable"]:
        raise ApiError(
            400, "ELB.8939", f"A member without subnet_cidr_id needs ip_target_enable of load balancer {home.id}"
        )
    _alone(snapshot, pool.id, data)
    return transaction.create("member", str(uuid.uuid4()), {**data, "pool_id": pool.id})


def change(transaction: Transaction, before: Row, given: Mapping[str, Any]) -> Row:
    """`before` with the given fields. Raises ApiError (409)."""
    data = merged(before.data, given, _DEFAULTS)
    _alone(transaction.snapshot, before.data["pool_id"], data, before.id)
    return transaction.update(before, data)


def check_deletable(pool: Row) -> None:
    """Raise ApiError (409) when the members of `pool` are protected."""
    if pool.data["member_deletion_protection_enable"]:
        raise conflict(f"Members of pool {pool.id} are protected from deletion")


def twin(snapshot: StoreSnapshot, pool_id: str, data: Mapping[str, Any]) -> Row | None:
    """Return the member of the pool with this address and port."""
    place = (_address(data["address"]), data["protocol_port"])
    members = snapshot.find("member", "pool_id", pool_id)
    return next((row for row in members if (row.data["address"], row.data["protocol_port"]) == place), None)


def _insert(call: ApiRequest, transaction: Transaction, data: dict[str, Any]) -> Row:
    return add(transaction, call, path_object(call, transaction.snapshot, "pool", "pool_id"), data)


def _change(
    call: ApiRequest, transaction: Transaction, before: Row, data: dict[str, Any], body: Body[MemberUpdate]
) -> Row:
    return change(transaction, before, body.given)


def _delete(call: ApiRequest, transaction: Transaction, row: Row) -> None:
    pool = transaction.snapshot.get("pool", row.data["pool_id"])
    if pool is not None:
        check_deletable(pool)
    transaction.delete(row)


def _alone(snapshot: StoreSnapshot, pool_id: str, data: Mapping[str, Any], identifier: str = "") -> None:
    other = twin(snapshot, pool_id, data)
    if other is not None and other.id != identifier:
        raise conflict(f"Member {other.id} of this pool has the same address and port")


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise bad_request("address is no IP address") from None


RESOURCE: Final = Resource(kind="member", plural="members", render=render, within=("pool", "pool_id"))
_EVERY: Final = Resource(kind="member", plural="members", render=render)

CRUD: Final = Crud(
    resource=RESOURCE,
    path="/pools/{pool_id}/members",
    title="a member",
    titles="the members of a pool",
    create_body=MemberCreate,
    update_body=MemberUpdate,
    defaults=_DEFAULTS,
    fixed=("address", "subnet_cidr_id"),
    new=lambda call, body: new_data(body.given),
    insert=_insert,
    change=_change,
    delete=_delete,
)
ROUTES: Final = (*CRUD.routes(), Route("GET", "/members", listing(_EVERY), "List the members of all pools"))
