"""Pools (elb-v3-api.md 5): members, and how requests are shared out among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from certferry.elb.server.api.fields import PROTECTION, Flag, Protected, Reference, Text, line, one_of
from certferry.elb.server.api.listing import Resource, Wire
from certferry.elb.server.api.request import ApiRequest, Body, get_object, merged, references
from certferry.elb.server.api.resources.crud import Crud, create_row, wire
from certferry.elb.server.api.resources.listeners import check_pool
from certferry.elb.server.api.resources.member_filters import MEMBER_FILTERS
from certferry.elb.server.errors import bad_request, conflict
from certferry.elb.server.store.tables import Row, StoreSnapshot
from certferry.elb.server.store.transaction import Transaction

PROTOCOLS: Final = ("HTTP", "HTTPS", "GRPC", "TCP", "UDP", "QUIC", "TLS")
LAYER_4: Final = ("TCP", "UDP", "QUIC", "TLS")
Algorithm = Annotated[str, one_of("ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP", "QUIC_CID")]
Stickiness = Annotated[str, one_of("SOURCE_IP", "HTTP_COOKIE", "APP_COOKIE")]
CookieName = Annotated[str, line(1024)]
Minutes = Annotated[int, Meta(ge=1, le=1440)]
SlowSeconds = Annotated[int, Meta(ge=30, le=1200)]


class PoolStickiness(msgspec.Struct, frozen=True, kw_only=True):
    """Session persistence; the timeout in minutes."""

    type: Stickiness
    cookie_name: CookieName | None = None
    persistence_timeout: Minutes | None = None


class PoolSlowStart(msgspec.Struct, frozen=True, kw_only=True):
    """A new member's share grows over `duration` seconds."""

    enable: bool = False
    duration: SlowSeconds = 30


class PoolStickinessUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of it to change."""

    type: Stickiness | UnsetType = UNSET
    cookie_name: CookieName | UnsetType | None = UNSET
    persistence_timeout: Minutes | UnsetType | None = UNSET


class PoolSlowStartUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of it to change."""

    enable: bool | UnsetType = UNSET
    duration: SlowSeconds | UnsetType = UNSET


class PoolDrain(msgspec.Struct, frozen=True, kw_only=True):
    """The time limit of connections to a removed member, in seconds."""

    enable: bool = False
    timeout: Annotated[int, Meta(ge=10, le=4000)] = 300


class PoolUpdate(Protected, frozen=True, kw_only=True):
    """The fields that a PUT may change."""

    name: Text = UNSET
    description: Text = UNSET
    admin_state_up: Flag = UNSET
    lb_algorithm: Algorithm | UnsetType = UNSET
    session_persistence: PoolStickinessUpdate | UnsetType | None = UNSET
    slow_start: PoolSlowStartUpdate | UnsetType | None = UNSET
    connection_drain: PoolDrain | UnsetType | None = UNSET
    member_deletion_protection_enable: Flag = UNSET
    vpc_id: Reference = UNSET
    type: Annotated[str, one_of("instance", "ip", "")] | UnsetType | None = UNSET


class PoolCreate(PoolUpdate, frozen=True, kw_only=True):
    """A new pool, of a load balancer, as default pool of a listener, or of none yet."""

    protocol: Annotated[str, one_of(*PROTOCOLS)]
    lb_algorithm: Algorithm
    session_persistence: PoolStickiness | UnsetType | None = UNSET  # type: ignore[assignment]
    slow_start: PoolSlowStart | UnsetType | None = UNSET  # type: ignore[assignment]
    ip_version: Annotated[str, one_of("v4", "v6", "dualstack")] | UnsetType | None = UNSET
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
    "connection_drain": None,
    "ip_version": "dualstack",
    "member_deletion_protection_enable": False,
    "vpc_id": None,
    "type": "",
    "enterprise_project_id": "0",
    **PROTECTION,
}
_FIXED: Final[dict[str, Any]] = {
    "any_port_enable": False,
    "pool_health": None,
    "public_border_group": "center",
    "az_affinity": None,
    "quic_cid_hash_strategy": None,
}


_UNSERVED: Final = ("any_port_enable", "pool_health", "az_affinity", "quic_cid_hash_strategy")


def users(snapshot: StoreSnapshot, pool_id: str) -> tuple[Row, ...]:
    """Return the listeners that send to the pool, by default or by a policy."""
    listeners = {row.id: row for row in snapshot.find("listener", "default_pool_id", pool_id)}
    for policy in policies(snapshot, pool_id):
        listener = snapshot.get("listener", policy.data["listener_id"])
        if listener is not None:
            listeners[listener.id] = listener
    return tuple(listeners.values())


def policies(snapshot: StoreSnapshot, pool_id: str) -> tuple[Row, ...]:
    """Return the policies that send to the pool, alone or by weight."""
    return snapshot.find("l7policy", _targets, pool_id)


def _targets(policy: Row) -> list[str | None]:
    return [
        policy.data["redirect_pool_id"],
        *(share["pool_id"] for share in policy.data["redirect_pools_config"] or ()),
    ]


def render(call: ApiRequest, snapshot: StoreSnapshot, row: Row) -> Wire:
    """Return a pool as answers show it; a field that is newer than the row has its default."""
    data = row.data
    monitors = snapshot.find("healthmonitor", "pool_id", row.id)
    return wire(
        row,
        (),
        **_FIXED,
        **{field: data.get(field, default) for field, default in _DEFAULTS.items()}
        | {"session_persistence": _sticky(data["session_persistence"])},
        protocol=data["protocol"],
        loadbalancers=[{"id": data["loadbalancer_id"]}] if data["loadbalancer_id"] else [],
        listeners=references(users(snapshot, row.id)),
        members=references(snapshot.find("member", "pool_id", row.id)),
        healthmonitor_id=monitors[0].id if monitors else None,
    )


def _sticky(stored: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the session persistence with the default of its timeout filled in."""
    if stored is None or stored["persistence_timeout"] is not None:
        return stored
    return {**stored, "persistence_timeout": 1 if stored["type"] == "SOURCE_IP" else 1440}


def _new(call: ApiRequest, body: Body[PoolCreate]) -> tuple[PoolCreate, dict[str, Any]]:
    value = body.value
    if not (value.listener_id or value.loadbalancer_id or value.type):
        raise bad_request("The pool has no place: give one of loadbalancer_id, listener_id and type")
    data = merged(_DEFAULTS, body.given, _DEFAULTS) | {"protocol": value.protocol}
    _check(data | {"loadbalancer_id": value.loadbalancer_id or value.listener_id or None})
    return value, data


def _insert(call: ApiRequest, transaction: Transaction, new: tuple[PoolCreate, dict[str, Any]]) -> Row:
    """Create a pool; with ``listener_id`` it becomes the default pool of that listener."""
    snapshot, (value, data) = transaction.snapshot, new
    listener = _listener(call, snapshot, value)
    home = listener.data["loadbalancer_id"] if listener else value.loadbalancer_id or None
    if home:
        get_object(snapshot, "loadbalancer", home, call.actor.project_id)
    row = create_row(call, transaction, "pool", data | {"loadbalancer_id": home})
    if listener:
        check_pool(call, transaction.snapshot, row.id, listener.data["protocol"], listener.data["loadbalancer_id"])
        transaction.update(listener, {**listener.data, "default_pool_id": row.id})
    return row


def _change(call: ApiRequest, transaction: Transaction, before: Row, data: dict[str, Any], _: Any) -> Row:
    data = {**_DEFAULTS, **data}
    _check(data)
    return transaction.update(before, data)


def _delete(call: ApiRequest, transaction: Transaction, row: Row) -> None:
    for kind in ("member", "healthmonitor"):
        if parts := transaction.snapshot.find(kind, "pool_id", row.id):
            raise conflict(f"Pool {row.id} still has {kind} {parts[0].id}: delete that first")
    release(transaction, row)
    transaction.delete(row)


def _check(data: Mapping[str, Any]) -> None:
    """Raise ApiError (400) unless the fields go together."""
    if data["type"] == "instance" and not (data["vpc_id"] or data["loadbalancer_id"]):
        raise bad_request("A pool of type instance needs vpc_id, or a load balancer")
    if data["type"] == "ip" and data["vpc_id"]:
        raise bad_request("A pool of type ip has no vpc_id")
    if not (sticky := data["session_persistence"]):
        return
    kind, layer4 = sticky["type"], data["protocol"] in LAYER_4
    if layer4 != (kind == "SOURCE_IP"):
        raise bad_request(f"session_persistence {kind} does not go with a pool of protocol {data['protocol']}")
    if (kind == "APP_COOKIE") != bool(sticky["cookie_name"]):
        raise bad_request("session_persistence: cookie_name is for type APP_COOKIE, which needs it")
    if layer4 and (sticky["persistence_timeout"] or 1) > 60:
        raise bad_request(f"session_persistence: persistence_timeout is 1 to 60 for protocol {data['protocol']}")


def _listener(call: ApiRequest, snapshot: StoreSnapshot, value: PoolCreate) -> Row | None:
    if not isinstance(value.listener_id, str) or not value.listener_id:
        return None
    listener = get_object(snapshot, "listener", value.listener_id, call.actor.project_id)
    if listener.data["default_pool_id"]:
        raise conflict(f"Listener {listener.id} has a default pool already")
    if value.loadbalancer_id and value.loadbalancer_id != listener.data["loadbalancer_id"]:
        raise bad_request("listener_id is a listener of another load balancer")
    return listener


def release(transaction: Transaction, row: Row) -> None:
    """Leave the listeners that send to the pool without a default pool. Raises ApiError (409) if a policy uses it."""
    if used := policies(transaction.snapshot, row.id):
        raise conflict(f"Pool {row.id} is used by l7policy {used[0].id}")
    for listener in transaction.snapshot.find("listener", "default_pool_id", row.id):
        transaction.update(listener, {**listener.data, "default_pool_id": None})


def _drains(_snapshot: StoreSnapshot, wire: Wire, wanted: set[str]) -> bool:
    return str(bool((wire["connection_drain"] or {}).get("enable"))).lower() in wanted


RESOURCE: Final = Resource(
    kind="pool",
    plural="pools",
    render=render,
    nested={"loadbalancer_id": "loadbalancers", "listener_id": "listeners"},
    filters=MEMBER_FILTERS | {"connection_drain": _drains},
)

CRUD: Final = Crud(
    resource=RESOURCE,
    path="/pools",
    title="a pool",
    titles="pools",
    create_body=PoolCreate,
    update_body=PoolUpdate,
    defaults=_DEFAULTS,
    fixed=("protocol", "loadbalancer_id"),
    unserved=_UNSERVED,
    parts={"session_persistence": PoolStickiness, "slow_start": PoolSlowStart},
    new=_new,
    insert=_insert,
    change=_change,
    delete=_delete,
)
ROUTES: Final = CRUD.routes()
