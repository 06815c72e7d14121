"""Health monitors (elb-v3-api.md 5): how the members of a pool are checked; at most one a pool."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from certferry.elb.server.api.fields import Flag, Identifier, Port, Text
from certferry.elb.server.api.listing import Resource, Wire, listing, showing
from certferry.elb.server.api.request import (
    ApiRequest,
    ApiResponse,
    Route,
    body_of,
    get_object,
    merged,
    path_object,
    times,
    unchanged,
    within_quota,
)
from certferry.elb.server.errors import bad_request, conflict
from certferry.elb.server.store.store import Transaction
from certferry.elb.server.store.tables import Row, StoreSnapshot

Kind = Annotated[str, Meta(pattern="^(TCP|UDP_CONNECT|HTTP|HTTPS|TLS|GRPC)$")]
Seconds = Annotated[int, Meta(ge=1, le=50)]
Tries = Annotated[int, Meta(ge=1, le=10)]


class HealthMonitorUpdate(Struct, frozen=True, kw_only=True):
    """What may be changed."""

    name: Text = UNSET
    admin_state_up: Flag = UNSET
    type: Kind | UnsetType = UNSET
    delay: Seconds | UnsetType = UNSET
    timeout: Seconds | UnsetType = UNSET
    max_retries: Tries | UnsetType = UNSET
    max_retries_down: Tries | UnsetType | None = UNSET
    http_method: Annotated[str, Meta(pattern="^(GET|HEAD|POST)$")] | UnsetType | None = UNSET
    url_path: Annotated[str, Meta(pattern="^/", max_length=255)] | UnsetType | None = UNSET
    expected_codes: Annotated[str, Meta(pattern=r"^\d{1,3}([-,]\d{1,3})*$")] | UnsetType | None = UNSET
    domain_name: Annotated[str, Meta(max_length=100)] | UnsetType | None = UNSET
    monitor_port: Port | UnsetType | None = UNSET


class HealthMonitorCreate(HealthMonitorUpdate, frozen=True, kw_only=True):
    """A new health monitor."""

    pool_id: Identifier
    type: Kind
    delay: Seconds
    timeout: Seconds
    max_retries: Tries


_DEFAULTS: Final[dict[str, Any]] = {
    "name": "",
    "admin_state_up": True,
    "type": None,
    "delay": None,
    "timeout": None,
    "max_retries": None,
    "max_retries_down": 3,
    "http_method": None,
    "url_path": None,
    "expected_codes": None,
    "domain_name": None,
    "monitor_port": None,
}
_HTTP: Final = {"http_method": "GET", "url_path": "/", "expected_codes": "200"}


def render(call: ApiRequest, snapshot: StoreSnapshot, row: Row) -> Wire:
    """A health monitor as answers show it."""
    return {
        "id": row.id,
        "project_id": row.project_id,
        **{field: row.data[field] for field in _DEFAULTS},
        "pools": [{"id": row.data["pool_id"]}],
        **times(row),
    }


def create(call: ApiRequest) -> ApiResponse:
    """POST: the health monitor of a pool."""
    body = body_of(call, "healthmonitor", HealthMonitorCreate)
    pool_id = body.value.pool_id
    data = _filled(merged(_DEFAULTS, body.given, _DEFAULTS)) | {"pool_id": pool_id}

    def decide(transaction: Transaction) -> Row:
        snapshot = transaction.snapshot
        within_quota(snapshot, call, "healthmonitor")
        pool = get_object(snapshot, "pool", pool_id, call.actor.project_id)
        if snapshot.find("healthmonitor", "pool_id", pool_id):
            raise conflict(f"Pool {pool_id} has a health monitor already")
        _fits(data, pool)
        return transaction.create("healthmonitor", str(uuid.uuid4()), data)

    row, snapshot = call.write(decide)
    return ApiResponse(201, RESOURCE.one(call, snapshot, row))


def update(call: ApiRequest) -> ApiResponse:
    """PUT: the given fields."""
    body = body_of(call, "healthmonitor", HealthMonitorUpdate)

    def decide(transaction: Transaction) -> Row:
        snapshot = transaction.snapshot
        before = path_object(call, snapshot, "healthmonitor")
        unchanged(body, before, "pool_id")
        data = _filled(merged(before.data, body.given, _DEFAULTS))
        _fits(data, get_object(snapshot, "pool", data["pool_id"], call.actor.project_id))
        return transaction.update(before, data)

    row, snapshot = call.write(decide)
    return ApiResponse(200, RESOURCE.one(call, snapshot, row))


def remove(call: ApiRequest) -> ApiResponse:
    """DELETE: members count as healthy again."""
    call.write(
        lambda transaction: transaction.delete(path_object(call, transaction.snapshot, "healthmonitor"))
    )
    return ApiResponse(204)


def _filled(data: Mapping[str, Any]) -> dict[str, Any]:
    """With the defaults that depend on the type."""
    if data["type"] in ("HTTP", "HTTPS"):
        return {**data, **{field: data[field] or value for field, value in _HTTP.items()}}
    if data["type"] == "GRPC":
        return {**data, "expected_codes": data["expected_codes"] or "0", "url_path": data["url_path"] or "/"}
    return dict(data)


def _fits(data: Mapping[str, Any], pool: Row) -> None:
    datagrams = pool.data["protocol"] in ("UDP", "QUIC")
    if datagrams != (data["type"] == "UDP_CONNECT"):
        raise bad_request(f"A pool of protocol {pool.data['protocol']} cannot be checked by {data['type']}")


RESOURCE: Final = Resource(
    kind="healthmonitor", plural="healthmonitors", render=render, nested={"pool_id": "pools"}
)

ROUTES: Final = (
    Route("GET", "/healthmonitors", listing(RESOURCE), "List health monitors"),
    Route(
        "POST",
        "/healthmonitors",
        create,
        "Create a health monitor",
        ("healthmonitor", HealthMonitorCreate),
        201,
    ),
    Route("GET", "/healthmonitors/{id}", showing(RESOURCE), "Show a health monitor"),
    Route(
        "PUT",
        "/healthmonitors/{id}",
        update,
        "Update a health monitor",
        ("healthmonitor", HealthMonitorUpdate),
    ),
    Route("DELETE", "/healthmonitors/{id}", remove, "Delete a health monitor", status=204),
)
