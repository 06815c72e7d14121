"""The audit log: who changed what, and the certificate before and after. Never a key.

A record is appended in the transaction of its change. Its id is the sequence of the event stream: with one writer,
ids are in the order of commits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine, delete, func, insert, select

from certferry.core.model.elb import domain_names
from certferry.elb.server.actor import Actor
from certferry.elb.server.store import schema
from certferry.elb.server.store.database import appendable, prunes_alone, reading
from certferry.elb.server.store.tables import Row


class AuditNote(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a certificate's change for the audit log, beyond the changed fields."""

    verb: str | None = None
    """Instead of create, update or delete."""
    reason: str | None = None
    via: str | None = None
    """The operation that wrote new content; None: create or put."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One record, as answers show it."""

    sequence: int
    at: datetime
    user: str
    role: str
    verb: str
    kind: str
    resource_id: str
    name: str
    fingerprint: str | None
    previous_fingerprint: str | None
    request_id: str
    reason: str | None
    fields: list[str]


Recorded = tuple[str, Entry]
"""A record and its project."""


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions on records; None matches every record."""

    project_id: str
    object_id: str | None = None
    host: str | None = None
    from_instant: datetime | None = None
    after: int = 0
    """The sequence after which to begin."""
    limit: int = 100


def append(
    connection: Connection,
    actor: Actor,
    request_id: str,
    at: datetime,
    change: tuple[Row | None, Row | None],
    note: AuditNote,
) -> Recorded:
    """Record one change (before, after)."""
    before, after = change
    row = after or before
    assert row is not None
    verb = "create" if before is None else "delete" if after is None else "update"
    special = row.kind in _NOTED
    columns = {
        "at": at,
        "actor": actor.name,
        "role": actor.role,
        "request_id": request_id,
        "project_id": row.project_id,
        "action": (special and note.verb) or verb,
        "kind": row.kind,
        "object_id": row.id,
        "name": str(row.data.get("name") or "")[:255],
        "fields": sorted(_differing(before, after)),
        "fingerprint": _fingerprint(after),
        "previous_fingerprint": _fingerprint(before),
        "reason": note.reason if special else None,
    }
    key = connection.execute(_INSERT, columns).inserted_primary_key
    assert key is not None
    if names := _names(before) | _names(after):
        connection.execute(_INSERT_NAME, [{"audit_id": key[0], "name": n} for n in sorted(names)])
    return row.project_id, _entry({**columns, "id": key[0]})


def search(engine: Engine, wanted: Search) -> list[Entry]:
    """Return at most ``wanted.limit`` records, oldest first."""
    table = schema.audit
    query = select(table).where(table.c.project_id == wanted.project_id, table.c.id > wanted.after)
    if wanted.object_id is not None:
        query = query.where(table.c.object_id == wanted.object_id)
    if wanted.from_instant is not None:
        query = query.where(table.c.at >= wanted.from_instant)
    if wanted.host is not None:
        of_host = select(schema.audit_names.c.audit_id).where(schema.audit_names.c.name.in_(_answering(wanted.host)))
        query = query.where(table.c.id.in_(of_host))
    with reading(engine).connect() as connection:
        found = connection.execute(query.order_by(table.c.id).limit(wanted.limit)).mappings()
        return [_entry(row) for row in found]


def between(connection: Connection, after: int, last: int) -> list[Recorded]:
    """Return the records of all projects with `after` < id <= `last`, oldest first."""
    table = schema.audit
    query = select(table).where(table.c.id > after, table.c.id <= last).order_by(table.c.id)
    return [(row["project_id"], _entry(row)) for row in connection.execute(query).mappings()]


def instant_of(connection: Connection, sequence: int) -> datetime | None:
    """Return the instant of the record `sequence`; None if there is no such record."""
    return connection.execute(select(schema.audit.c.at).where(schema.audit.c.id == sequence)).scalar()


def newest(engine: Engine) -> int:
    """Return the sequence of the last record; 0 if there is none."""
    with reading(engine).connect() as connection:
        return int(connection.execute(select(func.max(schema.audit.c.id))).scalar() or 0)


def oldest(engine: Engine) -> int:
    """Return the sequence of the first record; 0 if there is none."""
    with reading(engine).connect() as connection:
        return int(connection.execute(select(func.min(schema.audit.c.id))).scalar() or 0)


def prune(connection: Connection, before: datetime, most: int) -> int:
    """Delete the oldest records: those before an instant, and those beyond `most`. Return how many.

    At most `_PRUNED` at a time. The newest record stays, because the next sequence follows it. None are deleted while
    another process of a shared database prunes.
    """
    table = schema.audit
    if not prunes_alone(connection):
        return 0
    newest_id = connection.execute(select(func.max(table.c.id))).scalar() or 0
    too_old = connection.execute(select(func.max(table.c.id)).where(table.c.at < before)).scalar() or 0
    first = connection.execute(select(func.min(table.c.id))).scalar() or 0
    last = min(max(too_old, newest_id - most), newest_id - 1, first + _PRUNED - 1)
    if last < first or not first:
        return 0
    with appendable(connection):
        connection.execute(delete(schema.audit_names).where(schema.audit_names.c.audit_id <= last))
        return connection.execute(delete(table).where(table.c.id <= last)).rowcount


def _entry(row: Any) -> Entry:
    return Entry(
        sequence=row["id"],
        at=row["at"],
        user=row["actor"],
        role=row["role"],
        verb=row["action"],
        kind=row["kind"],
        resource_id=row["object_id"],
        name=row["name"] or "",
        fingerprint=row["fingerprint"],
        previous_fingerprint=row["previous_fingerprint"],
        request_id=row["request_id"],
        reason=row["reason"],
        fields=row["fields"],
    )


def _differing(before: Row | None, after: Row | None) -> Iterator[str]:
    if before is None or after is None:
        return
    for field in after.data.keys() | before.data.keys():
        if before.data.get(field) != after.data.get(field):
            yield field
    if before.content is not after.content:
        yield "certificate"


def _fingerprint(row: Row | None) -> str | None:
    return row.content.chain.fingerprint if row is not None and row.content is not None else None


def _names(row: Row | None) -> set[str]:
    if row is None or row.content is None:
        return set()
    return {name[:255] for name in (*row.content.chain.names, *domain_names(row.data["domain"]))}


def _answering(host: str) -> tuple[str, ...]:
    """Return the certificate names that cover `host`: itself and its wildcard."""
    host = host.lower().rstrip(".")
    _, _, parent = host.partition(".")
    return (host, f"*.{parent}") if parent and not host.startswith("*.") else (host,)


class Tail:
    """The newest records in memory, so that event streams do not query the database for each change."""

    def __init__(self) -> None:
        self._kept: tuple[Recorded, ...] = ()

    def add(self, records: Sequence[Recorded]) -> None:
        """Add the records of a commit."""
        kept = self._kept
        if kept and records and kept[-1][1].sequence + 1 != records[0][1].sequence:
            kept = ()  # another program wrote in between, and what is known here must have no gaps
        self._kept = (*kept, *records)[-_KEPT:]

    def reset(self) -> None:
        """Forget all records."""
        self._kept = ()

    def after(self, project_id: str, sequence: int) -> list[Entry] | None:
        """Return the project's records after `sequence`, oldest first; None if memory does not reach back so far."""
        kept = self._kept
        if not kept or sequence + 1 < kept[0][1].sequence:
            return None
        return [entry for project, entry in kept if project == project_id and entry.sequence > sequence]


_NOTED: Final = ("certificate", "compromised_key")
"""Kinds whose records have the verb and the reason of the note."""
_PRUNED: Final = 5_000
"""Records that one transaction deletes; writers wait meanwhile."""
_KEPT: Final = 100
"""Records in memory, of all projects: a rotation makes one."""
_INSERT: Final = insert(schema.audit)
_INSERT_NAME: Final = insert(schema.audit_names)
