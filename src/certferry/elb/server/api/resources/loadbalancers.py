"""Load balancers (elb-v3-api.md 4): an address with listeners. Networks and zones are taken as they come."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from certferry.elb.server.api.fields import PROTECTION, Flag, Protected, Reference, Tags, Text, Words
from certferry.elb.server.api.listing import Resource, Wire
from certferry.elb.server.api.request import ApiRequest, Body, Route, merged, references, within_quota
from certferry.elb.server.api.resources.crud import Crud, wire
from certferry.elb.server.api.resources.member_filters import MEMBER_FILTERS
from certferry.elb.server.api.status_tree import statuses
from certferry.elb.server.errors import bad_request, conflict
from certferry.elb.server.rules.addresses import allocate
from certferry.elb.server.store.tables import Row, StoreSnapshot
from certferry.elb.server.store.transaction import Transaction


class LoadBalancerUpdate(Protected, frozen=True, kw_only=True):
    """The fields that a PUT may change."""

    name: Text = UNSET
    description: Text = UNSET
    admin_state_up: Flag = UNSET
    l4_flavor_id: Reference = UNSET
    l7_flavor_id: Reference = UNSET
    ip_target_enable: Flag = UNSET
    elb_virsubnet_ids: Words = UNSET
    deletion_protection_enable: Flag = UNSET
    waf_failure_action: Text = UNSET
    vip_subnet_cidr_id: Reference = UNSET
    ipv6_vip_virsubnet_id: Reference = UNSET
    charge_mode: Text = UNSET


class PublicIp(msgspec.Struct, frozen=True, kw_only=True):
    """A public address to be made; which one it becomes is ours to say."""

    ip_version: int | UnsetType | None = UNSET
    network_type: Text = UNSET


class LoadBalancerCreate(LoadBalancerUpdate, frozen=True, kw_only=True):
    """A new load balancer; ``guaranteed`` can only be true."""

    vip_address: Annotated[str, Meta(max_length=45)] | UnsetType | None = UNSET
    vpc_id: Reference = UNSET
    provider: Text = UNSET
    guaranteed: Flag = UNSET
    availability_zone_list: Words = UNSET
    publicip: PublicIp | UnsetType | None = UNSET
    publicip_ids: Words = UNSET
    tags: Tags = UNSET
    enterprise_project_id: Text = UNSET


_DEFAULTS: Final[dict[str, Any]] = {
    "name": "",
    "description": "",
    "admin_state_up": True,
    "l4_flavor_id": None,
    "l7_flavor_id": None,
    "ip_target_enable": True,
    "elb_virsubnet_ids": [],
    "deletion_protection_enable": False,
    "waf_failure_action": "",
    "vip_subnet_cidr_id": None,
    "ipv6_vip_virsubnet_id": None,
    "vpc_id": None,
    "availability_zone_list": [],
    "tags": [],
    "enterprise_project_id": "0",
    "charge_mode": "flavor",
    **PROTECTION,
}
_FIXED: Final[dict[str, Any]] = {
    "provider": "vlb",
    "guaranteed": True,
    "provisioning_status": "ACTIVE",
    "operating_status": "ONLINE",
    "ipv6_vip_address": None,
    "ipv6_vip_port_id": None,
    "billing_info": None,
    "l4_scale_flavor_id": None,
    "l7_scale_flavor_id": None,
    "gw_flavor_id": None,
    "loadbalancer_type": None,
    "global_eips": [],
    "elb_virsubnet_type": "ipv4",
    "frozen_scene": None,
    "autoscaling": {"enable": False, "min_l7_flavor_id": None},
    "public_border_group": "center",
    "service_lb_mode": None,
    "log_group_id": None,
    "log_topic_id": None,
    "custom_qos_limit": None,
    "instance_id": None,
    "instance_type": None,
    "proxy_protocol_extensions": None,
}


def render(call: ApiRequest, snapshot: StoreSnapshot, row: Row) -> Wire:
    """Return a load balancer as answers show it."""
    data = row.data
    address, public = data["vip_address"], data["publicip_id"]
    own: Wire = {
        "vip_address": address,
        "vip_port_id": data["vip_port_id"],
        "listeners": references(snapshot.find("listener", "loadbalancer_id", row.id)),
        "pools": references(snapshot.find("pool", "loadbalancer_id", row.id)),
        "publicips": [],
        "eips": [],
        "certferry": {field: data[field] for field in ("privileged_shift", "port_shift")},
    }
    if public:
        own["publicips"] = [{"ip_version": 4, "publicip_id": public, "publicip_address": address}]
        own["eips"] = [{"ip_version": 4, "eip_id": public, "eip_address": address}]
    return wire(row, _DEFAULTS, **_FIXED, **own)


def _new(call: ApiRequest, body: Body[LoadBalancerCreate]) -> dict[str, Any]:
    value = body.value
    if value.guaranteed is False:
        raise bad_request("guaranteed can only be true, because every load balancer here is dedicated")
    bound = value.publicip_ids if isinstance(value.publicip_ids, list) else []
    public = bound[0] if bound else str(uuid.uuid4()) if isinstance(value.publicip, PublicIp) else None
    data = merged(_DEFAULTS, body.given, _DEFAULTS)
    if not data["availability_zone_list"]:
        data["availability_zone_list"] = list(call.settings.availability_zones[:1])
    address = value.vip_address if isinstance(value.vip_address, str) else None
    return data | {"vip_address": address, "vip_port_id": str(uuid.uuid4()), "publicip_id": public}


def _insert(call: ApiRequest, transaction: Transaction, data: dict[str, Any]) -> Row:
    within_quota(transaction.snapshot, call, "loadbalancer")
    place = allocate(transaction.snapshot, call.settings, data["vip_address"])
    return transaction.create("loadbalancer", str(uuid.uuid4()), data | place)


def _delete(call: ApiRequest, transaction: Transaction, row: Row) -> None:
    check_unprotected(row)
    for kind in ("listener", "pool"):
        if parts := transaction.snapshot.find(kind, "loadbalancer_id", row.id):
            raise conflict(f"Load balancer {row.id} still has {kind} {parts[0].id}: delete that first")
    transaction.delete(row)


def check_unprotected(row: Row) -> None:
    """Raise ApiError (409) when the load balancer is protected from deletion."""
    if row.data["deletion_protection_enable"]:
        raise conflict(f"Load balancer {row.id} is protected: set deletion_protection_enable to false first")


def _by_ip_version(_snapshot: StoreSnapshot, wire: Wire, wanted: set[str]) -> bool:
    return ("6" if ":" in wire["vip_address"] else "4") in wanted


def _by_public_ip(_snapshot: StoreSnapshot, wire: Wire, wanted: set[str]) -> bool:
    return any(str(value) in wanted for one in wire["publicips"] for value in one.values())


RESOURCE: Final = Resource(
    kind="loadbalancer",
    plural="loadbalancers",
    render=render,
    filters=MEMBER_FILTERS | {"ip_version": _by_ip_version, "publicips": _by_public_ip, "eips": _by_public_ip},
)

CRUD: Final = Crud(
    resource=RESOURCE,
    path="/loadbalancers",
    title="a load balancer",
    titles="load balancers",
    create_body=LoadBalancerCreate,
    update_body=LoadBalancerUpdate,
    defaults=_DEFAULTS,
    fixed=("vip_address", "vpc_id", "availability_zone_list"),
    new=_new,
    insert=_insert,
    delete=_delete,
)
ROUTES: Final = (
    *CRUD.routes(),
    Route("GET", "/loadbalancers/{id}/statuses", statuses, "Show the status tree of a load balancer"),
)
