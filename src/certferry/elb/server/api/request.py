"""One authenticated request, and what every handler does with it.

Handlers run in worker threads. The conventions of the wire (elb-v3-api.md 1) are here, and no resource.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec

from certferry.elb.server.actor import Actor
from certferry.elb.server.dataplane.status import Reporter, no_data_plane
from certferry.elb.server.errors import bad_request, not_found, not_supported, over_quota
from certferry.elb.server.store.store import Store
from certferry.elb.server.store.tables import Row, StoreSnapshot, project
from certferry.elb.server.store.transaction import Transaction
from certferry.settings import ElbSettings

T = TypeVar("T")
Struct = TypeVar("Struct", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One authenticated request."""

    store: Store
    settings: ElbSettings
    actor: Actor
    request_id: str
    path: Mapping[str, str]
    """The variables of the path."""
    query: tuple[tuple[str, str], ...]
    body: bytes
    transaction: Transaction | None = None
    """The transaction of the bulk call that this request is an item of."""
    plane: Reporter = no_data_plane
    """How the data plane is, when asked."""

    @property
    def snapshot(self) -> StoreSnapshot:
        """The newest committed world; take it once per answer."""
        return self.transaction.snapshot if self.transaction else self.store.snapshot

    def write(self, decide: Callable[[Transaction], T]) -> tuple[T, StoreSnapshot]:
        """Decides and commits: what was decided, and the world after it. See ``Store.transact``."""
        if self.transaction is not None:
            return decide(self.transaction), self.transaction.snapshot
        return self.store.transact(self.actor, self.request_id, decide)


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """Status and body (None: empty)."""

    status: int
    body: Mapping[str, Any] | None = None


Handler = Callable[[ApiRequest], ApiResponse]

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
WRITERS: Final = ("admin", "member", "controller")


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: where, what it takes and gives (for OpenAPI), and who does it."""

    method: str
    path: str
    """After ``/v3/{project_id}/elb``, or ``…/certferry`` for an extension."""
    handler: Handler
    summary: str
    takes: tuple[str, type[msgspec.Struct]] | None = None
    """The body: the name of its envelope (empty: it has none), and what is in it."""
    status: int = 200
    under: str = "/elb"
    """Where `path` begins within a project; tags have a place of their own."""
    gives: type[Any] | None = None
    """The type of an answer of another form than the usual ones (for OpenAPI)."""
    roles: tuple[str, ...] = WRITERS
    """The roles that may write by it; every role may read."""


@dataclass(frozen=True, slots=True)
class Body(Generic[Struct]):
    """The object in a request's envelope: checked, as plain given fields, and as it came."""

    value: Struct
    given: dict[str, Any]
    raw: Mapping[str, Any]


def body_of(call: ApiRequest, envelope: str, kind: type[Struct]) -> Body[Struct]:
    """Decode the request's object; unknown fields are ignored. Raises ApiError (400)."""
    try:
        document = msgspec.json.decode(call.body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise bad_request("The body is not JSON") from None
    raw = document.get(envelope) if envelope and isinstance(document, dict) else document
    if _controls(raw):
        raise bad_request("The body holds a control character other than tab and line feed")
    if not isinstance(raw, dict):
        raise bad_request(f"The body needs an object{f' named {envelope}' if envelope else ''}")
    value = converted(raw, kind, envelope)
    return Body(value, msgspec.to_builtins(value), raw)


def _controls(value: Any) -> bool:
    match value:
        case str():
            return _CONTROL.search(value) is not None
        case dict():
            return any(_controls(key) or _controls(part) for key, part in value.items())
        case list():
            return any(map(_controls, value))
    return False


def converted(raw: Any, kind: type[Struct], where: str) -> Struct:
    """`raw` as `kind`; raises ApiError (400) that says what in `where` is wrong."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise bad_request(f"{where}: {error}" if where else str(error)) from None


def completed(given: Mapping[str, Any], before: Row, **parts: type[msgspec.Struct]) -> dict[str, Any]:
    """`given`, with each of its objects in `parts` completed from what is there. Raises ApiError (400)."""
    whole = dict(given)
    for field, kind in parts.items():
        if isinstance(given.get(field), dict):
            both = {**(before.data[field] or {}), **given[field]}
            whole[field] = msgspec.to_builtins(converted(both, kind, field))
    return whole


def check_served(raw: Mapping[str, Any], *fields: str) -> None:
    """Raise ApiError (403) when one of `fields` asks for something that nothing here does.

    Better than to take it and not to do it; switched off, they are harmless.
    """
    for field in fields:
        if not _idle(raw.get(field)):
            raise not_supported(f"{field} is not served here: leave it out")


def _idle(value: Any) -> bool:
    return all(map(_idle, value.values())) if isinstance(value, dict) else not value


def merged(before: Mapping[str, Any], given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`before` with the given fields; null gives a field its default."""
    fresh = {
        field: defaults.get(field) if value is None else value for field, value in given.items() if field in defaults
    }
    return {**before, **fresh}


def unchanged(body: Body[Any], row: Row, *fields: str) -> None:
    """Raise ApiError (400) when the request changes a field that cannot be changed."""
    for field in fields:
        if field in body.raw and body.raw[field] != row.data.get(field):
            raise bad_request(f"{field} of a {row.kind} cannot be changed")


def get_object(snapshot: StoreSnapshot, kind: str, identifier: str, project_id: str) -> Row:
    """Return the object of this project. Raises ApiError (404)."""
    row = snapshot.get(kind, identifier)
    if row is None or row.project_id != project_id:
        raise not_found(kind, identifier)
    return row


def path_object(call: ApiRequest, snapshot: StoreSnapshot, kind: str, variable: str = "id") -> Row:
    """Return the object in the path. Raises ApiError (404)."""
    return get_object(snapshot, kind, call.path[variable], call.actor.project_id)


def within_quota(snapshot: StoreSnapshot, call: ApiRequest, kind: str) -> None:
    """Raise ApiError (409) when one more of `kind` is too many for the project."""
    limit = int(getattr(call.settings.limits, kind))
    if limit >= 0 and snapshot.count(kind, project, call.actor.project_id) >= limit:
        raise over_quota(kind, limit)


def references(rows: Iterable[Row]) -> list[dict[str, str]]:
    """Return the wire's list of references."""
    return [{"id": row.id} for row in rows]


def times(row: Row) -> dict[str, str]:
    """Return the times of creation and last change for the wire: UTC, whole seconds."""
    form = "%Y-%m-%dT%H:%M:%SZ"
    return {"created_at": row.created_at.strftime(form), "updated_at": row.updated_at.strftime(form)}
