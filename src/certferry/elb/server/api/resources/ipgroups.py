"""IP groups (elb-v3-api.md 7): addresses that a listener's access list names."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from certferry.elb.server.api.fields import Text
from certferry.elb.server.api.listing import Resource, Wire
from certferry.elb.server.api.request import (
    ApiRequest,
    ApiResponse,
    Route,
    body_of,
    get_object,
    merged,
    path_object,
    references,
)
from certferry.elb.server.api.resources.crud import Crud, wire
from certferry.elb.server.errors import bad_request, conflict, over_quota
from certferry.elb.server.store.tables import Row, StoreSnapshot
from certferry.elb.server.store.transaction import Transaction

_ROOM: Final = 10_000
"""Entries that a body may have before the limit of the settings is looked at."""


class IpEntry(Struct, frozen=True, kw_only=True):
    """An address, a network, or a range ``a-b``."""

    ip: Annotated[str, Meta(min_length=1, max_length=100)]
    description: Annotated[str, Meta(max_length=255)] | None = ""


Entries = Annotated[list[IpEntry], Meta(max_length=_ROOM)]


class IpGroupUpdate(Struct, frozen=True, kw_only=True):
    """The fields that a PUT may change; a list replaces the present list."""

    name: Text = UNSET
    description: Text = UNSET
    ip_list: Entries | UnsetType = UNSET


class IpGroupCreate(IpGroupUpdate, frozen=True, kw_only=True):
    """A new group; it may be empty."""

    ip_list: Entries
    enterprise_project_id: Text = UNSET


class GoneEntry(Struct, frozen=True, kw_only=True):
    """An entry that is to go."""

    ip: Annotated[str, Meta(min_length=1, max_length=100)]


class IpListDelete(Struct, frozen=True, kw_only=True):
    """Entries that are to go."""

    ip_list: Annotated[list[GoneEntry], Meta(max_length=_ROOM)]


_DEFAULTS: Final[dict[str, Any]] = {"name": "", "description": "", "ip_list": [], "enterprise_project_id": "0"}


def bound(snapshot: StoreSnapshot, group_id: str) -> tuple[Row, ...]:
    """Return the listeners whose access list names the group."""
    return snapshot.find("listener", _group_ids, group_id)


def _group_ids(listener: Row) -> list[str]:
    return group_ids(listener.data)


def group_ids(listener: Mapping[str, Any]) -> list[str]:
    """Return the ids of the groups that a listener names, separated by commas on the wire."""
    binding = listener["ipgroup"]
    return [one.strip() for one in binding["ipgroup_id"].split(",")] if binding else []


def check_groups(
    call: ApiRequest, snapshot: StoreSnapshot, listener: Mapping[str, Any], identifier: str | None
) -> None:
    """Raise ApiError unless the listener (None: a new one) may name its groups."""
    limits, ids = call.settings.limits, group_ids(listener)
    if 0 <= limits.ipgroups_per_listener < len(ids):
        raise over_quota("ipgroups_per_listener", limits.ipgroups_per_listener)
    for group_id in ids:
        group = get_object(snapshot, "ipgroup", group_id, call.actor.project_id)
        others = [row for row in bound(snapshot, group.id) if row.id != identifier]
        if 0 <= limits.ipgroup_bindings <= len(others):
            raise over_quota("ipgroup_bindings", limits.ipgroup_bindings)


def render(call: ApiRequest, snapshot: StoreSnapshot, row: Row) -> Wire:
    """Return a group as answers show it."""
    return wire(row, _DEFAULTS, listeners=references(bound(snapshot, row.id)))


def _delete(call: ApiRequest, transaction: Transaction, row: Row) -> None:
    if used := bound(transaction.snapshot, row.id):
        raise conflict(f"IP group {row.id} is used by listener {used[0].id}: remove it from that listener first")
    transaction.delete(row)


def put_entries(call: ApiRequest) -> ApiResponse:
    """POST …/iplist/create-or-update: entries are added, or get another description."""
    body = body_of(call, "ipgroup", IpGroupUpdate)

    def decide(transaction: Transaction) -> Row:
        before = path_object(call, transaction.snapshot, "ipgroup")
        more = {**body.given, "ip_list": [*before.data["ip_list"], *body.given.get("ip_list", ())]}
        return transaction.update(before, _tidied(call, merged(before.data, more, _DEFAULTS)))

    row, snapshot = call.write(decide)
    return ApiResponse(200, RESOURCE.one(call, snapshot, row))


def delete_entries(call: ApiRequest) -> ApiResponse:
    """POST …/iplist/batch-delete: entries go; those that are not there are no error."""
    gone = {_parsed(entry.ip) for entry in body_of(call, "ipgroup", IpListDelete).value.ip_list}

    def decide(transaction: Transaction) -> Row:
        before = path_object(call, transaction.snapshot, "ipgroup")
        kept = [entry for entry in before.data["ip_list"] if _parsed(entry["ip"]) not in gone]
        return transaction.update(before, {**before.data, "ip_list": kept})

    row, snapshot = call.write(decide)
    return ApiResponse(200, RESOURCE.one(call, snapshot, row))


def related_listeners(call: ApiRequest) -> ApiResponse:
    """GET …/related-listeners."""
    snapshot = call.snapshot
    return ApiResponse(200, {"listeners": references(bound(snapshot, path_object(call, snapshot, "ipgroup").id))})


def _tidied(call: ApiRequest, data: dict[str, Any]) -> dict[str, Any]:
    """Keep one entry per address, the last one. Raises ApiError."""
    entries = _unique(data["ip_list"])
    limit = call.settings.limits.ipgroup_max_length
    if 0 <= limit < len(entries):
        raise over_quota("ipgroup_max_length", limit)
    return {**data, "ip_list": entries}


def _unique(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    by_place = {
        _parsed(entry["ip"]): {"ip": entry["ip"].strip(), "description": entry["description"] or ""}
        for entry in entries
    }
    return list(by_place.values())


def _parsed(text: str) -> tuple[Any, Any]:
    """Return the first and last address. Raises ApiError (400)."""
    first, dash, last = (part.strip() for part in text.partition("-"))
    try:
        if not dash:
            network = ipaddress.ip_network(first, strict=False)
            return network[0], network[-1]
        ends = ipaddress.ip_address(first), ipaddress.ip_address(last)
    except ValueError:
        ends = None
    if ends is None or ends[0].version != ends[1].version or int(ends[0]) > int(ends[1]):
        raise bad_request(f"ip_list: “{text[:60]}” is no address, no network, and no range like 10.0.0.1-10.0.0.9")
    return ends


def _found(_snapshot: StoreSnapshot, wire: Wire, wanted: set[str]) -> bool:
    return any(entry["ip"] in wanted for entry in wire["ip_list"])


RESOURCE: Final = Resource(kind="ipgroup", plural="ipgroups", render=render, filters={"ip_list": _found})

CRUD: Final = Crud(
    resource=RESOURCE,
    path="/ipgroups",
    title="an IP group",
    titles="IP groups",
    create_body=IpGroupCreate,
    update_body=IpGroupUpdate,
    defaults=_DEFAULTS,
    checked=_tidied,
    delete=_delete,
)
ROUTES: Final = (
    *CRUD.routes(),
    Route(
        "POST",
        "/ipgroups/{id}/iplist/create-or-update",
        put_entries,
        "Add or change addresses of an IP group",
        ("ipgroup", IpGroupUpdate),
    ),
    Route(
        "POST",
        "/ipgroups/{id}/iplist/batch-delete",
        delete_entries,
        "Delete addresses of an IP group",
        ("ipgroup", IpListDelete),
    ),
    Route("GET", "/ipgroups/{id}/related-listeners", related_listeners, "Show the listeners of an IP group"),
)
