"""The five operations that every stored resource has, with hooks for what differs.

A handler decodes and checks the body before the write lock is taken; a hook decides inside the transaction.
A hook raises ApiError to reject the request; nothing is stored then.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from certferry.elb.server.api.listing import Resource, Wire, listing, showing
from certferry.elb.server.api.request import (
    ApiRequest,
    ApiResponse,
    Body,
    Route,
    body_of,
    check_served,
    completed,
    merged,
    times,
    unchanged,
    within_quota,
)
from certferry.elb.server.store.tables import Row
from certferry.elb.server.store.transaction import Transaction


def create_row(call: ApiRequest, transaction: Transaction, kind: str, data: Mapping[str, Any]) -> Row:
    """Create a row within the project's quota. Raises ApiError (409) if the quota is used up."""
    within_quota(transaction.snapshot, call, kind)
    return transaction.create(kind, str(uuid.uuid4()), data)


def wire(row: Row, fields: Iterable[str], **own: Any) -> Wire:
    """Return a row as answers show it: its `fields`, then those of `own`, then its times."""
    shown = {field: row.data[field] for field in fields}
    return {"id": row.id, "project_id": row.project_id, **shown, **own, **times(row)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Crud:
    """One resource: its bodies, its defaults, and the hooks that implement its rules."""

    resource: Resource
    path: str
    """Path of the collection, after ``/v3/{project_id}/elb``."""
    title: str
    """The resource with its article, for the description of the API."""
    titles: str
    create_body: type[msgspec.Struct]
    update_body: type[msgspec.Struct]
    defaults: Mapping[str, Any]
    """The fields that a body may carry, and the value that null stands for."""
    fixed: tuple[str, ...] = ()
    """Fields that a PUT may repeat but not change."""
    unserved: tuple[str, ...] = ()
    """Fields of the vendor's that are rejected unless they are off."""
    parts: Mapping[str, type[msgspec.Struct]] = field(default_factory=dict)
    """Fields that hold an object, which a PUT may give in part."""
    checked: Callable[[ApiRequest, dict[str, Any]], dict[str, Any]] = lambda _, data: data
    """Return the fields of a new or changed object in their stored form. Raises ApiError."""
    new: Callable[[ApiRequest, Body[Any]], Any] | None = None
    """Return what `insert` needs from a POST, before the transaction; by default all fields of the new object."""
    insert: Callable[[ApiRequest, Transaction, Any], Row] | None = None
    """Create the row; by default within the quota and without further checks."""
    prepare: Callable[[ApiRequest, Body[Any]], Any] | None = None
    """Return what `change` needs from a PUT beside the fields, before the transaction; by default the body."""
    change: Callable[[ApiRequest, Transaction, Row, dict[str, Any], Any], Row] | None = None
    """Update the row to the merged fields; by default without further checks."""
    delete: Callable[[ApiRequest, Transaction, Row], None] | None = None
    """Delete the row; by default without further checks."""

    def create(self, call: ApiRequest) -> ApiResponse:
        """Answer a POST."""
        body = body_of(call, self.resource.kind, self.create_body)
        check_served(body.raw, *self.unserved)
        new = self.new(call, body) if self.new else self.checked(call, merged(self.defaults, body.given, self.defaults))

        def decide(transaction: Transaction) -> Row:
            if self.insert is None:
                return create_row(call, transaction, self.resource.kind, new)
            return self.insert(call, transaction, new)

        row, snapshot = call.write(decide)
        return ApiResponse(201, self.resource.one(call, snapshot, row))

    def update(self, call: ApiRequest) -> ApiResponse:
        """Answer a PUT: it changes the given fields alone."""
        body = body_of(call, self.resource.kind, self.update_body)
        check_served(body.raw, *self.unserved)
        prepared = self.prepare(call, body) if self.prepare else body

        def decide(transaction: Transaction) -> Row:
            before = self.resource.row(call, transaction.snapshot)
            unchanged(body, before, *self.fixed)
            data = merged(before.data, completed(body.given, before, **self.parts), self.defaults)
            data = self.checked(call, data)
            if self.change is None:
                return transaction.update(before, data)
            return self.change(call, transaction, before, data, prepared)

        row, snapshot = call.write(decide)
        return ApiResponse(200, self.resource.one(call, snapshot, row))

    def remove(self, call: ApiRequest) -> ApiResponse:
        """Answer a DELETE."""

        def decide(transaction: Transaction) -> None:
            row = self.resource.row(call, transaction.snapshot)
            if self.delete is None:
                transaction.delete(row)
            else:
                self.delete(call, transaction, row)

        call.write(decide)
        return ApiResponse(204)

    def routes(self) -> tuple[Route, ...]:
        """Return the routes of the five operations."""
        kind, one = self.resource.kind, self.path + "/{id}"
        return (
            Route("GET", self.path, listing(self.resource), f"List {self.titles}"),
            Route("POST", self.path, self.create, f"Create {self.title}", (kind, self.create_body), 201),
            Route("GET", one, showing(self.resource), f"Show {self.title}"),
            Route("PUT", one, self.update, f"Update {self.title}", (kind, self.update_body)),
            Route("DELETE", one, self.remove, f"Delete {self.title}", status=204),
        )
