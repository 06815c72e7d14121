"""The changes of one request: made on a snapshot, written by the store all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import msgspec

from certferry.core.x509.pem import PrivateKey
from certferry.elb.server.actor import Actor
from certferry.elb.server.store.audit import AuditNote
from certferry.elb.server.store.tables import Content, Row, StoreSnapshot

T = TypeVar("T")


class ConflictError(Exception):
    """Another process wrote the same row in between; nothing was stored. Try again."""


class RowChange(NamedTuple):
    """One changed row; None for a row that was not there, or is not any more."""

    before: Row | None
    after: Row | None
    note: AuditNote


class BulkAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a bulk call, kept for its repetition. Holds no content and no key."""

    key: str
    digest: str
    """SHA-256 of the call's body, hex."""
    items: list[dict[str, Any]]


class Transaction:
    """The changes of one request: its reads see its own changes; the database gets them at the end."""

    def __init__(self, snapshot: StoreSnapshot, actor: Actor, request_id: str, now: datetime) -> None:
        self.snapshot = snapshot
        self.actor = actor
        self.request_id = request_id
        self.now = now
        self.changes: list[RowChange] = []
        self.answer: BulkAnswer | None = None
        self.secrets: dict[tuple[str, str], PrivateKey | None] = {}
        """Secrets of changed issuers and orders, by the row's id and their name; None deletes one."""
        self.note = AuditNote()
        """Facts for the audit log about the next changes of certificates."""

    def create(self, kind: str, identifier: str, data: Mapping[str, Any], content: Content | None = None) -> Row:
        """Create a row of the actor's project."""
        # an instant of its own: after a restart rows stand in the order in which they were made
        at = self.now + timedelta(microseconds=len(self.changes))
        row = Row(
            kind=kind,
            id=identifier,
            project_id=self.actor.project_id,
            data=data,
            created_at=at,
            updated_at=at,
            content=content,
        )
        self._change(None, row)
        return row

    def update(self, before: Row, data: Mapping[str, Any], content: Content | None = None) -> Row:
        """Replace data or content of `before`; return the new row, or `before` itself if nothing differs."""
        content = content or before.content
        if data == before.data and content is before.content:
            return before
        after = msgspec.structs.replace(
            before, data=data, content=content, updated_at=self.now, revision=before.revision + 1
        )
        self._change(before, after)
        return after

    def delete(self, row: Row) -> None:
        """Delete `row`. Rows that refer to it must be deleted before."""
        self._change(row, None)

    def attempt(self, act: Callable[[], T]) -> T:
        """Call `act` with a note of its own; if it raises, its changes are undone."""
        snapshot, number = self.snapshot, len(self.changes)
        self.note = AuditNote()
        try:
            return act()
        except BaseException:
            self.snapshot = snapshot
            del self.changes[number:]
            raise

    def _change(self, before: Row | None, after: Row | None) -> None:
        self.changes.append(RowChange(before, after, self.note))
        self.snapshot = self.snapshot.replaced(before, after)
