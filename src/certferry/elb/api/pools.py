"""Pools (elb-v3-api.md 5): members, and how requests are shared out among them."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from certferry.elb.api.call import (
    Answer,
    Call,
    Route,
    asked,
    body_of,
    merged,
    references,
    required,
    times,
    unchanged,
    within_quota,
)
from certferry.elb.api.fields import PROTECTION, Flag, Protected, Reference, Text
from certferry.elb.api.listeners import check_pool
from certferry.elb.api.listing import Resource, Wire, listing, showing
from certferry.elb.errors import conflict, malformed
from certferry.elb.store.store import Transaction
from certferry.elb.store.world import Row, World

PROTOCOLS: Final = ("HTTP", "HTTPS", "GRPC", "TCP", "UDP", "QUIC", "TLS")
Algorithm = Annotated[str, Meta(pattern="^(ROUND_ROBIN|LEAST_CONNECTIONS|SOURCE_IP|QUIC_CID)$")]


class PoolStickiness(msgspec.Struct, frozen=True, kw_only=True):
    """Session persistence; the timeout in minutes."""

    type: Annotated[str, Meta(pattern="^(SOURCE_IP|HTTP_COOKIE|APP_COOKIE)$")]
    cookie_name: Annotated[str, Meta(max_length=1024)] | None = None
    persistence_timeout: Annotated[int, Meta(ge=1, le=1440)] | None = None


class PoolSlowStart(msgspec.Struct, frozen=True, kw_only=True):
    """A new member's share grows over `duration` seconds."""

    enable: bool = False
    duration: Annotated[int, Meta(ge=30, le=1200)] = 30


class PoolUpdate(Protected, frozen=True, kw_only=True):
    """What may be changed."""

    name: Text = UNSET
    description: Text = UNSET
    admin_state_up: Flag = UNSET
    lb_algorithm: Algorithm | UnsetType = UNSET
    session_persistence: PoolStickiness | UnsetType | None = UNSET
    slow_start: PoolSlowStart | UnsetType | None = UNSET
    member_deletion_protection_enable: Flag = UNSET
    vpc_id: Reference = UNSET
    type: Annotated[str, Meta(pattern="^(instance|ip|)$")] | UnsetType | None = UNSET


class PoolCreate(PoolUpdate, frozen=True, kw_only=True):
    """A new pool, of a load balancer, as default pool of a listener, or of none yet."""

    protocol: Annotated[str, Meta(max_length=16)]
    lb_algorithm: Algorithm
    listener_id: Reference = UNSET
    loadbalancer_id: Reference = UNSET
    enterprise_project_id: Text = UNSET


_DEFAULTS: Final[dict[str, Any]] = {
    "name": "",
    "description": "",
    "admin_state_up": True,
    "lb_algorithm": None,
    "session_persistence": None,
    "slow_start": None,
    "member_deletion_protection_enable": False,
    "vpc_id": None,
    "type": "",
    "enterprise_project_id": "0",
    **PROTECTION,
}
_FIXED: Final[dict[str, Any]] = {
    "ip_version": "dualstack",
    "any_port_enable": False,
    "connection_drain": None,
    "pool_health": None,
    "public_border_group": "center",
    "az_affinity": None,
    "quic_cid_hash_strategy": None,
}


def users(world: World, pool_id: str) -> tuple[Row, ...]:
    """The listeners that send to the pool, by default or by a policy."""
    found = {row.id: row for row in world.find("listener", "default_pool_id", pool_id)}
    for policy in policies(world, pool_id):
        listener = world.get("listener", policy.data["listener_id"])
        if listener is not None:
            found[listener.id] = listener
    return tuple(found.values())


def policies(world: World, pool_id: str) -> list[Row]:
    """The policies that send to the pool, alone or by weight."""
    return [
        row
        for row in world.table("l7policy").rows.values()
        if row.data["redirect_pool_id"] == pool_id
        or any(share["pool_id"] == pool_id for share in row.data["redirect_pools_config"] or ())
    ]


def render(call: Call, world: World, row: Row) -> Wire:
    """A pool as answers show it."""
    data = row.data
    monitors = world.find("healthmonitor", "pool_id", row.id)
    return {
        "id": row.id,
        "project_id": row.project_id,
        **_FIXED,
        **{field: data[field] for field in _DEFAULTS},
        "protocol": data["protocol"],
        "loadbalancers": [{"id": data["loadbalancer_id"]}] if data["loadbalancer_id"] else [],
        "listeners": references(users(world, row.id)),
        "members": references(world.find("member", "pool_id", row.id)),
        "healthmonitor_id": monitors[0].id if monitors else None,
        **times(row),
    }


def create(call: Call) -> Answer:
    """POST: a new pool; with listener_id it becomes that listener's default pool."""
    body = body_of(call, "pool", PoolCreate)
    value = body.value
    if value.protocol not in PROTOCOLS:
        raise malformed(f"protocol is one of {', '.join(PROTOCOLS)}")
    if not (value.listener_id or value.loadbalancer_id or value.type):
        raise malformed("One of loadbalancer_id, listener_id and type is needed")
    data = merged(_DEFAULTS, body.given, _DEFAULTS) | {"protocol": value.protocol}

    def decide(transaction: Transaction) -> Row:
        world = transaction.world
        within_quota(world, call, "pool")
        listener = _listener(call, world, value)
        home = listener.data["loadbalancer_id"] if listener else value.loadbalancer_id or None
        if home:
            required(world, "loadbalancer", home, call.actor.project_id)
        row = transaction.create("pool", str(uuid.uuid4()), data | {"loadbalancer_id": home})
        if listener:
            check_pool(
                call, transaction.world, row.id, listener.data["protocol"], listener.data["loadbalancer_id"]
            )
            transaction.update(listener, {**listener.data, "default_pool_id": row.id})
        return row

    row, world = call.write(decide)
    return Answer(201, RESOURCE.one(call, world, row))


def _listener(call: Call, world: World, value: PoolCreate) -> Row | None:
    if not isinstance(value.listener_id, str) or not value.listener_id:
        return None
    listener = required(world, "listener", value.listener_id, call.actor.project_id)
    if listener.data["default_pool_id"]:
        raise conflict(f"Listener {listener.id} has a default pool already")
    if value.loadbalancer_id and value.loadbalancer_id != listener.data["loadbalancer_id"]:
        raise malformed("listener_id is a listener of another load balancer")
    return listener


def update(call: Call) -> Answer:
    """PUT: the given fields."""
    body = body_of(call, "pool", PoolUpdate)

    def decide(transaction: Transaction) -> Row:
        before = asked(call, transaction.world, "pool")
        unchanged(body, before, "protocol", "loadbalancer_id")
        return transaction.update(before, merged(before.data, body.given, _DEFAULTS))

    row, world = call.write(decide)
    return Answer(200, RESOURCE.one(call, world, row))


def remove(call: Call) -> Answer:
    """DELETE, unless it has members or a health monitor, or something sends to it."""

    def decide(transaction: Transaction) -> None:
        world = transaction.world
        row = asked(call, world, "pool")
        dependents = (
            *world.find("member", "pool_id", row.id),
            *world.find("healthmonitor", "pool_id", row.id),
            *world.find("listener", "default_pool_id", row.id),
            *policies(world, row.id),
        )
        if dependents:
            raise conflict(
                f"Pool {row.id} is in use: it has or is used by {dependents[0].kind} {dependents[0].id}"
            )
        transaction.delete(row)

    call.write(decide)
    return Answer(204)


RESOURCE: Final = Resource(
    kind="pool",
    plural="pools",
    render=render,
    nested={"loadbalancer_id": "loadbalancers", "listener_id": "listeners"},
)

ROUTES: Final = (
    Route("GET", "/pools", listing(RESOURCE), "List pools"),
    Route("POST", "/pools", create, "Create a pool", ("pool", PoolCreate), 201),
    Route("GET", "/pools/{id}", showing(RESOURCE), "Show a pool"),
    Route("PUT", "/pools/{id}", update, "Update a pool", ("pool", PoolUpdate)),
    Route("DELETE", "/pools/{id}", remove, "Delete a pool", status=204),
)
