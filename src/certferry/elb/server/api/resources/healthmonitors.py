"""Health monitors (elb-v3-api.md 5): how the members of a pool are checked; at most one a pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from certferry.elb.server.api.fields import Flag, Identifier, Port, Text, line, matching, one_of
from certferry.elb.server.api.listing import Resource, Wire
from certferry.elb.server.api.request import ApiRequest, Body, get_object, merged
from certferry.elb.server.api.resources.crud import Crud, create_row, wire
from certferry.elb.server.errors import bad_request, conflict
from certferry.elb.server.store.tables import Row, StoreSnapshot
from certferry.elb.server.store.transaction import Transaction

Kind = Annotated[str, one_of("TCP", "UDP_CONNECT", "HTTP", "HTTPS", "TLS", "GRPC")]
Seconds = Annotated[int, Meta(ge=1, le=50)]
Tries = Annotated[int, Meta(ge=1, le=10)]


class HealthMonitorUpdate(Struct, frozen=True, kw_only=True):
    """The fields that a PUT may change."""

    name: Text = UNSET
    admin_state_up: Flag = UNSET
    type: Kind | UnsetType = UNSET
    delay: Seconds | UnsetType = UNSET
    timeout: Seconds | UnsetType = UNSET
    max_retries: Tries | UnsetType = UNSET
    max_retries_down: Tries | UnsetType | None = UNSET
    http_method: Annotated[str, one_of("GET", "HEAD", "POST")] | UnsetType | None = UNSET
    url_path: Annotated[str, matching(r"/[^\x00-\x1f\x7f]{0,254}")] | UnsetType | None = UNSET
    expected_codes: Annotated[str, matching(r"[0-9]{1,3}([-,][0-9]{1,3})*")] | UnsetType | None = UNSET
    domain_name: Annotated[str, line(100)] | UnsetType | None = UNSET
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
    """Return a health monitor as answers show it."""
    return wire(row, _DEFAULTS, pools=[{"id": row.data["pool_id"]}])


def _new(call: ApiRequest, body: Body[HealthMonitorCreate]) -> dict[str, Any]:
    return _filled(call, merged(_DEFAULTS, body.given, _DEFAULTS)) | {"pool_id": body.value.pool_id}


def _insert(call: ApiRequest, transaction: Transaction, data: dict[str, Any]) -> Row:
    snapshot, pool_id = transaction.snapshot, data["pool_id"]
    pool = get_object(snapshot, "pool", pool_id, call.actor.project_id)
    if snapshot.find("healthmonitor", "pool_id", pool_id):
        raise conflict(f"Pool {pool_id} has a health monitor already: update that one")
    _check_protocol(data, pool)
    return create_row(call, transaction, "healthmonitor", data)


def _change(call: ApiRequest, transaction: Transaction, before: Row, data: dict[str, Any], _: Any) -> Row:
    _check_protocol(data, get_object(transaction.snapshot, "pool", data["pool_id"], call.actor.project_id))
    return transaction.update(before, data)


def _filled(_: ApiRequest, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return `data` with the defaults that depend on the type of the monitor."""
    if data["type"] in ("HTTP", "HTTPS"):
        return {**data, **{field: data[field] or value for field, value in _HTTP.items()}}
    if data["type"] == "GRPC":
        return {**data, "expected_codes": data["expected_codes"] or "0", "url_path": data["url_path"] or "/"}
    return dict(data)


def _check_protocol(data: Mapping[str, Any], pool: Row) -> None:
    datagrams = pool.data["protocol"] in ("UDP", "QUIC")
    if datagrams != (data["type"] == "UDP_CONNECT"):
        raise bad_request(f"A pool of protocol {pool.data['protocol']} cannot be checked by {data['type']}")


RESOURCE: Final = Resource(kind="healthmonitor", plural="healthmonitors", render=render, nested={"pool_id": "pools"})

CRUD: Final = Crud(
    resource=RESOURCE,
    path="/healthmonitors",
    title="a health monitor",
    titles="health monitors",
    create_body=HealthMonitorCreate,
    update_body=HealthMonitorUpdate,
    defaults=_DEFAULTS,
    fixed=("pool_id",),
    checked=_filled,
    new=_new,
    insert=_insert,
    change=_change,
)
ROUTES: Final = CRUD.routes()
