"""Show one object and list many, for every resource (elb-v3-api.md 1.2).

Pages suit all ways of paging: by ``next_marker`` until it is absent, by the last id until a page is empty, or without
a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from certferry.elb.server.api.request import ApiRequest, ApiResponse, Handler, path_object
from certferry.elb.server.errors import bad_request, not_found
from certferry.elb.server.store.tables import Row, StoreSnapshot, project

Wire = dict[str, Any]
MOST: Final = 2000
_PAGING: Final = ("limit", "marker", "page_reverse")


Fits = Callable[[StoreSnapshot, Wire, set[str]], bool]
"""Decides if an object, in its wire form, matches a filter."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of resource and its form on the wire."""

    kind: str
    """The singular on the wire, and the kind of its rows."""
    plural: str
    render: Callable[[ApiRequest, StoreSnapshot, Row], Wire]
    nested: Mapping[str, str] = field(default_factory=dict)
    """Filters on references: query key → the wire field whose ``id`` it compares."""
    within: tuple[str, str] | None = None
    """The kind it is part of, and the field (and path variable) that says of which."""
    filters: Mapping[str, Fits] = field(default_factory=dict)
    """Filters that compare no field of the same name."""

    def one(self, call: ApiRequest, snapshot: StoreSnapshot, row: Row) -> Wire:
        """Return a single object in its envelope."""
        return {self.kind: self.render(call, snapshot, row)}

    def rows(self, call: ApiRequest, snapshot: StoreSnapshot) -> Sequence[Row]:
        """Return all rows of the project, or of the parent in the path."""
        if self.within is None:
            return snapshot.find(self.kind, project, call.actor.project_id)
        kind, variable = self.within
        return snapshot.find(self.kind, variable, path_object(call, snapshot, kind, variable).id)

    def row(self, call: ApiRequest, snapshot: StoreSnapshot) -> Row:
        """Return the row in the path. Raises ApiError (404) if its parent is another than in the path."""
        row = path_object(call, snapshot, self.kind)
        if self.within is not None:
            kind, variable = self.within
            parent = path_object(call, snapshot, kind, variable)
            if row.data[variable] != parent.id:
                raise not_found(self.kind, row.id)
        return row


def showing(resource: Resource) -> Handler:
    """GET of one."""

    def show(call: ApiRequest) -> ApiResponse:
        snapshot = call.snapshot
        return ApiResponse(200, resource.one(call, snapshot, resource.row(call, snapshot)))

    return show


def listing(resource: Resource) -> Handler:
    """GET of many: filters, then one page."""

    def index(call: ApiRequest) -> ApiResponse:
        snapshot = call.snapshot
        wires = [resource.render(call, snapshot, row) for row in resource.rows(call, snapshot)]
        page, info = paged(call.query, filtered(resource, call.query, wires, snapshot))
        return ApiResponse(200, {resource.plural: page, "page_info": info})

    return index


def filtered(
    resource: Resource, query: Sequence[tuple[str, str]], wires: list[Wire], snapshot: StoreSnapshot
) -> list[Wire]:
    """Return the objects that match one value of each key; keys that no object has are ignored."""
    wanted: dict[str, set[str]] = {}
    for key, value in query:
        if key not in _PAGING:
            # True: as openstacksdk writes a boolean
            wanted.setdefault(key, set()).update({value, value.lower()} if value in ("True", "False") else {value})
    for key, values in wanted.items():
        if fits := resource.filters.get(key):
            wires = [wire for wire in wires if fits(snapshot, wire, values)]
            continue
        wires = [wire for wire in wires if not values.isdisjoint(_values(resource, wire, key, values))]
    return wires


def _values(resource: Resource, wire: Wire, key: str, otherwise: set[str]) -> set[str]:
    """Return the values of one filter as a query writes them; `otherwise` for an unknown key."""
    name = resource.nested.get(key, key)
    if name not in wire:
        return otherwise
    value = wire[name]
    return {_written(one) for one in (value if isinstance(value, list) else [value])}


def _written(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case dict():
            return str(value.get("id", ""))
        case None:
            return ""
        case _:
            return str(value)


def paged(query: Sequence[tuple[str, str]], wires: list[Wire]) -> tuple[list[Wire], Wire]:
    """Return one page and its ``page_info``. Raises ApiError (400)."""
    asked_for = dict(query)
    limit = _limit(asked_for.get("limit"))
    backwards = _flag(asked_for.get("page_reverse"))
    start, end = 0, len(wires)
    if (marker := asked_for.get("marker")) is not None:
        at = next((n for n, wire in enumerate(wires) if wire["id"] == marker), None)
        if at is None:
            raise bad_request("marker is not the id of an object in this list")
        start, end = (start, at) if backwards else (at + 1, end)
    start, end = (max(start, end - limit), end) if backwards else (start, min(end, start + limit))
    page = wires[start:end]
    info: Wire = {"current_count": len(page)}
    if page:
        info["previous_marker"] = page[0]["id"]
        if end < len(wires):
            info["next_marker"] = page[-1]["id"]
    return page, info


def _limit(text: str | None) -> int:
    if text is None:
        return MOST
    if not text.isascii() or not text.isdigit() or int(text[:6]) > MOST:
        raise bad_request(f"limit is a number from 0 to {MOST}")
    return int(text)


def _flag(text: str | None) -> bool:
    if text is not None and text.lower() not in ("true", "false"):
        raise bad_request("page_reverse is true or false")
    return text is not None and text.lower() == "true"
