"""Listeners (elb-v3-api.md 3): a port, a protocol, and the certificates for it."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from certferry.core.envoy import header_name_problem
from certferry.core.model.elb import ENCRYPTED, LAYER_4
from certferry.elb.server.api.fields import PROTECTION, Flag, Identifier, Port, Protected, Reference, Tags, Text, one_of
from certferry.elb.server.api.listing import Resource, Wire
from certferry.elb.server.api.request import ApiRequest, Body, get_object, merged, within_quota
from certferry.elb.server.api.resources.crud import Crud, wire
from certferry.elb.server.api.resources.ipgroups import check_groups
from certferry.elb.server.api.resources.member_filters import MEMBER_FILTERS
from certferry.elb.server.api.resources.security_policies import TLS_POLICIES
from certferry.elb.server.errors import bad_request, conflict, over_quota
from certferry.elb.server.rules.addresses import bind_of, check_port
from certferry.elb.server.rules.certificate_binding import bound_names, check_listener, past_names
from certferry.elb.server.store.tables import Row, StoreSnapshot
from certferry.elb.server.store.transaction import Transaction

Seconds = Annotated[int, Meta(ge=1, le=300)] | UnsetType | None
PROTOCOLS: Final = {name: name for name in ("HTTP", "HTTPS", *sorted(LAYER_4))} | {"TERMINATED_HTTPS": "HTTPS"}
POOL_PROTOCOLS: Final = {
    "HTTP": ("HTTP",),
    "HTTPS": ("HTTP", "HTTPS", "GRPC"),
    "TCP": ("TCP",),
    "TLS": ("TCP", "TLS"),
    "UDP": ("UDP",),
}
"""Listener protocol → the protocols of pools it may send to."""
ListKind = Annotated[str, one_of("white", "black")]


class ListenerIpGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The access list of a listener."""

    ipgroup_id: Annotated[str, Meta(min_length=1, max_length=1024)]
    """One group, or several with commas between them."""
    enable_ipgroup: bool = True
    type: ListKind = "white"


class ListenerIpGroupUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of it to change."""

    ipgroup_id: Annotated[str, Meta(min_length=1, max_length=1024)] | UnsetType = UNSET
    enable_ipgroup: bool | UnsetType = UNSET
    type: ListKind | UnsetType = UNSET


class ListenerUpdate(Protected, frozen=True, kw_only=True):
    """The fields that a PUT may change."""

    name: Text = UNSET
    description: Text = UNSET
    admin_state_up: Flag = UNSET
    default_pool_id: Reference = UNSET
    default_tls_container_ref: Reference = UNSET
    client_ca_tls_container_ref: Reference = UNSET
    sni_container_refs: list[Identifier] | UnsetType | None = UNSET
    sni_match_algo: Annotated[str, one_of("wildcard", "longest_suffix")] | UnsetType | None = UNSET
    tls_ciphers_policy: Annotated[str, one_of("", *TLS_POLICIES)] | UnsetType | None = UNSET
    security_policy_id: Reference = UNSET
    http2_enable: Flag = UNSET
    keepalive_timeout: Annotated[int, Meta(ge=0, le=4000)] | UnsetType | None = UNSET
    client_timeout: Seconds = UNSET
    member_timeout: Seconds = UNSET
    insert_headers: dict[str, bool | str | None] | UnsetType | None = UNSET
    ipgroup: ListenerIpGroupUpdate | UnsetType | None = UNSET
    enhance_l7policy_enable: Flag = UNSET
    enable_member_retry: Flag = UNSET
    transparent_client_ip_enable: Flag = UNSET
    gzip_enable: Flag = UNSET
    proxy_protocol_enable: Flag = UNSET


class ListenerCreate(ListenerUpdate, frozen=True, kw_only=True):
    """A new listener."""

    loadbalancer_id: Identifier
    ipgroup: ListenerIpGroup | UnsetType | None = UNSET  # type: ignore[assignment]
    protocol: Annotated[str, one_of(*PROTOCOLS)]
    protocol_port: Port
    tags: Tags = UNSET
    enterprise_project_id: Text = UNSET


_DEFAULTS: Final[dict[str, Any]] = {
    "name": "",
    "description": "",
    "admin_state_up": True,
    "default_pool_id": None,
    "default_tls_container_ref": None,
    "client_ca_tls_container_ref": None,
    "sni_container_refs": [],
    "sni_match_algo": "wildcard",
    "tls_ciphers_policy": None,
    "security_policy_id": None,
    "http2_enable": None,
    "keepalive_timeout": None,
    "client_timeout": None,
    "member_timeout": None,
    "insert_headers": {},
    "ipgroup": None,
    "enhance_l7policy_enable": False,
    "enable_member_retry": True,
    "transparent_client_ip_enable": True,
    "gzip_enable": False,
    "proxy_protocol_enable": False,
    "tags": [],
    "enterprise_project_id": "0",
    **PROTECTION,
}
_UNSERVED: Final = (*("quic_config", "port_ranges", "ssl_early_data_enable"), *("cps", "connection", "nat64_enable"))
_OWN: Final = {"loadbalancer_id", "past_names", "transport"}
_FIXED: Final[dict[str, Any]] = {
    "connection_limit": -1,
    "quic_config": None,
    "port_ranges": None,
    "ssl_early_data_enable": False,
    "cps": None,
    "nat64_enable": False,
}
"""Without ``connection``: openstacksdk cannot list objects that have a field of this name."""
_SECONDS: Final[dict[bool, dict[str, int | None]]] = {
    False: {"keepalive_timeout": 60, "client_timeout": 60, "member_timeout": 60},
    True: {"keepalive_timeout": 300, "client_timeout": None, "member_timeout": None},
}
"""Default timeouts, by whether the protocol is of layer 4; None: the listener has no such timeout."""
_REFERENCES: Final = (
    "default_pool_id",
    "default_tls_container_ref",
    "client_ca_tls_container_ref",
    "security_policy_id",
)


def render(call: ApiRequest, snapshot: StoreSnapshot, row: Row) -> Wire:
    """Return a listener as answers show it."""
    loadbalancer = snapshot.get("loadbalancer", row.data["loadbalancer_id"])
    assert loadbalancer is not None
    bind = {
        "bind_address": loadbalancer.data["vip_address"],
        "bind_port": bind_of(loadbalancer, row.data["protocol_port"]),
    }
    fields = [field for field in row.data if field not in _OWN and field not in _FIXED]
    newer = {field: default for field, default in _DEFAULTS.items() if field not in row.data}
    return wire(row, fields, **newer, **_FIXED, loadbalancers=[{"id": loadbalancer.id}], certferry=bind)


def _new(call: ApiRequest, body: Body[ListenerCreate]) -> dict[str, Any]:
    value = body.value
    place = {
        "protocol": PROTOCOLS[value.protocol],
        "protocol_port": value.protocol_port,
        "loadbalancer_id": value.loadbalancer_id,
        "transport": "udp" if value.protocol == "UDP" else "tcp",
        "past_names": [],
    }
    return _tidied(call, merged(_DEFAULTS, body.given, _DEFAULTS) | place)


def _insert(call: ApiRequest, transaction: Transaction, data: dict[str, Any]) -> Row:
    snapshot = transaction.snapshot
    within_quota(snapshot, call, "listener")
    loadbalancer = get_object(snapshot, "loadbalancer", data["loadbalancer_id"], call.actor.project_id)
    limit = call.settings.limits.listeners_per_loadbalancer
    if 0 <= limit <= snapshot.count("listener", "loadbalancer_id", loadbalancer.id):
        raise over_quota("listeners_per_loadbalancer", limit)
    check_port(snapshot, loadbalancer, data["protocol_port"], data["transport"])
    _check(call, snapshot, data, None)
    return transaction.create("listener", str(uuid.uuid4()), data)


def _change(
    call: ApiRequest, transaction: Transaction, before: Row, data: dict[str, Any], body: Body[ListenerUpdate]
) -> Row:
    """Update a listener; names that lose their certificate are kept in ``past_names`` while a rule has them."""
    snapshot, protocol = transaction.snapshot, before.data["protocol"]
    if PROTOCOLS.get(str(body.raw.get("protocol", protocol))) != protocol:
        raise bad_request("protocol of a listener cannot be changed: create another listener")
    data = _tidied(call, {**_DEFAULTS, **data})
    if before.data["enhance_l7policy_enable"] and not data["enhance_l7policy_enable"]:
        raise bad_request("enhance_l7policy_enable cannot be switched off again: create another listener")
    if data != before.data:
        _check(call, snapshot, data, before.id)
    draft = msgspec.structs.replace(before, data=data)
    data["past_names"] = past_names(snapshot, draft, bound_names(snapshot, before.data))
    return transaction.update(before, data)


def _delete(call: ApiRequest, transaction: Transaction, row: Row) -> None:
    snapshot = transaction.snapshot
    for field in ("listener_id", "redirect_listener_id"):
        if policies := snapshot.find("l7policy", field, row.id):
            raise conflict(f"Listener {row.id} is used by l7policy {policies[0].id}: delete that first")
    pool = row.data["default_pool_id"]
    if pool and snapshot.find("member", "pool_id", pool):
        raise conflict(f"Listener {row.id} has a default pool with members: remove pool {pool} from it first")
    transaction.delete(row)


def _tidied(call: ApiRequest, data: dict[str, Any]) -> dict[str, Any]:
    """Return `data` with empty references as none, only headers with a value, and the defaults of the protocol."""
    tidy = {**data, **{field: data[field] or None for field in _REFERENCES}}
    tidy["insert_headers"] = {name: word for name, word in tidy["insert_headers"].items() if word is not None}
    layer4 = tidy["protocol"] in LAYER_4
    if tidy["protocol"] not in ENCRYPTED:
        tidy["tls_ciphers_policy"] = None
    elif not tidy["tls_ciphers_policy"]:
        tidy["tls_ciphers_policy"] = call.settings.tls_ciphers_policy
    for field, seconds in _SECONDS[layer4].items():
        tidy[field] = seconds if tidy[field] is None or seconds is None else tidy[field]
    if tidy["http2_enable"] is None:
        tidy["http2_enable"] = tidy["protocol"] == "HTTPS" and call.settings.http2_enable
    return tidy


def _check(call: ApiRequest, snapshot: StoreSnapshot, data: dict[str, Any], identifier: str | None) -> None:
    check_listener(snapshot, data, call.actor.project_id, call.settings.limits)
    if data["security_policy_id"]:
        get_object(snapshot, "security_policy", data["security_policy_id"], call.actor.project_id)
    check_groups(call, snapshot, data, identifier)
    for field, value in data["insert_headers"].items():
        if field.endswith("-alias") and value and (problem := header_name_problem(str(value))):
            raise bad_request(f"insert_headers: {field} {problem}")
    if data["protocol"] in LAYER_4 and data["keepalive_timeout"] < 10:
        raise bad_request(f"keepalive_timeout of a {data['protocol']} listener is 10 to 4000 seconds")
    if data["proxy_protocol_enable"] and data["protocol"] not in ("TCP", "TLS"):
        raise bad_request("proxy_protocol_enable is for listeners of protocol TCP and TLS")
    if not data["admin_state_up"]:
        raise bad_request("admin_state_up of a listener can only be true")
    if data["default_pool_id"]:
        check_pool(call, snapshot, data["default_pool_id"], data["protocol"], data["loadbalancer_id"])
        _check_proxy(snapshot, data, identifier)


def _check_proxy(snapshot: StoreSnapshot, data: dict[str, Any], identifier: str | None) -> None:
    """Raise ApiError if another listener of the default pool wants what members cannot tell apart."""
    for other in snapshot.find("listener", "default_pool_id", data["default_pool_id"]):
        if other.id != identifier and bool(other.data.get("proxy_protocol_enable")) != data["proxy_protocol_enable"]:
            raise conflict(
                f"Listener {other.id} has the same default pool and another proxy_protocol_enable: "
                "members cannot tell their connections apart"
            )


def check_pool(call: ApiRequest, snapshot: StoreSnapshot, pool_id: str, protocol: str, loadbalancer_id: str) -> None:
    """Raise ApiError unless a listener of `protocol` on the load balancer can send to the pool."""
    pool = get_object(snapshot, "pool", pool_id, call.actor.project_id)
    if pool.data["loadbalancer_id"] not in (None, loadbalancer_id):
        raise bad_request(f"Pool {pool_id} belongs to another load balancer")
    if pool.data["protocol"] not in POOL_PROTOCOLS[protocol]:
        raise bad_request(f"A {protocol} listener cannot send to a pool of protocol {pool.data['protocol']}")


RESOURCE: Final = Resource(
    kind="listener",
    plural="listeners",
    render=render,
    nested={"loadbalancer_id": "loadbalancers"},
    filters=MEMBER_FILTERS,
)

CRUD: Final = Crud(
    resource=RESOURCE,
    path="/listeners",
    title="a listener",
    titles="listeners",
    create_body=ListenerCreate,
    update_body=ListenerUpdate,
    defaults=_DEFAULTS,
    fixed=("protocol_port", "loadbalancer_id"),
    unserved=_UNSERVED,
    parts={"ipgroup": ListenerIpGroup},
    new=_new,
    insert=_insert,
    change=_change,
    delete=_delete,
)
ROUTES: Final = CRUD.routes()
