"""The durable store of the ELB: one writer, and a snapshot in memory for readers, which never wait.

A transaction is decided on a snapshot; nothing is written meanwhile. Then its changes and their audit records are
committed at once, and the new state is published.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import structlog
from sqlalchemy import Connection, Engine, RowMapping, Table, bindparam, delete, insert, select, true, update

from certferry.core.x509.pem import parse_chain
from certferry.elb.server.actor import Actor
from certferry.elb.server.store import audit, head, schema, versions
from certferry.elb.server.store.audit import AuditNote
from certferry.elb.server.store.database import StoreUnusable, reading
from certferry.elb.server.store.head import Head
from certferry.elb.server.store.projection import Publication, published
from certferry.elb.server.store.tables import Content, Row, StoreSnapshot, snapshot_of
from certferry.runtime.encryption import EncryptionKeys

T = TypeVar("T")
_log = structlog.get_logger("certferry.elb")

_COMMON: Final = ("id", "project_id", "data", "created_at", "updated_at", "revision")
_OWN: Final[dict[str, tuple[str, ...]]] = {
    kind: tuple(str(c.name) for c in table.columns if c.name not in _COMMON) for kind, table in schema.RESOURCES.items()
}
"""Kind → the wire fields that have a column of their own (plain text: SQLAlchemy has names of its own kind)."""


_ANSWERS_KEPT: Final = timedelta(days=1)


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
        self.note = AuditNote()
        """What the audit log is to say of a certificate's change beyond the change itself."""

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


class Store:
    """The resources of every project. `publish` is called after each commit, in the writer's thread."""

    def __init__(
        self,
        engine: Engine,
        encryption: EncryptionKeys,
        *,
        versions: int = 5,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._encryption = encryption
        self._keep = versions
        self._clock = clock
        self._writing = threading.Lock()
        self._publish: Callable[[Publication], None] = lambda _: None
        self.tail = audit.Tail()
        with self._consistent() as connection:
            rows = self._load(connection)
            self._sequence = head.read(connection).sequence
        self._instant = max((row.updated_at for row in rows), default=datetime.min.replace(tzinfo=UTC))
        self._shared = engine.dialect.name == "postgresql"
        """Whether other processes may write the resources."""

    def on_commit(self, publish: Callable[[Publication], None]) -> None:
        """Call `publish` with the present publication, and with that of every later commit, in order."""
        with self._writing:
            self._publish = publish
            publish(self.publication)

    def transact(self, actor: Actor, request_id: str, decide: Callable[[Transaction], T]) -> tuple[T, StoreSnapshot]:
        """Run `decide` and commit its changes; return its result and the snapshot right after.

        If `decide` raises, nothing is committed. Raises ``ConflictError`` if another process changed a row in between.
        """
        with self._writing:
            if not self._shared:
                transaction = Transaction(self.snapshot, actor, request_id, self._now())
                result = decide(transaction)
                if transaction.changes:
                    prepared = self._projected(transaction)
                    with self._engine.begin() as connection:
                        records = _Writing(connection, transaction, self._encryption, self._keep).run()
                    self._committed(transaction, prepared, records)
                return result, self.snapshot
            records = []
            with self._engine.begin() as connection:
                self._catch_up(connection, head.lock(connection))
                transaction = Transaction(self.snapshot, actor, request_id, self._now())
                result = decide(transaction)
                if transaction.changes:
                    prepared = self._projected(transaction)
                    records = _Writing(connection, transaction, self._encryption, self._keep).run()
                    head.advance(connection, transaction.now)
            if transaction.changes:
                self._committed(transaction, prepared, records)
            return result, self.snapshot

    def catch_up(self) -> None:
        """Take over what other processes committed, and publish it."""
        with self._writing, self._consistent() as connection:
            self._catch_up(connection, head.read(connection))

    def _catch_up(self, connection: Connection, newest: Head | None) -> None:
        if newest is None or newest.sequence == self._sequence:
            return
        if newest.sequence < self._sequence:
            _log.error(
                "the database lost committed changes",
                last=self._sequence,
                present=newest.sequence,
                advice="It fell back to an older state, such as a standby's. This ELB follows it now.",
            )
            self._load(connection)
            self.tail.reset()
        else:
            self._take_over(connection, newest)
        self._instant = max(self._instant, newest.instant)
        self._sequence = newest.sequence
        self._publish(self.publication)

    @contextmanager
    def _consistent(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database throughout."""
        level = "REPEATABLE READ" if self._engine.dialect.name == "postgresql" else "AUTOCOMMIT"
        with self._engine.connect().execution_options(isolation_level=level) as connection, connection.begin():
            yield connection

    def _load(self, connection: Connection) -> list[Row]:
        """Read everything and return all rows. Raises StoreUnusable, or EncryptionError with the wrong key."""
        contents = _contents(connection, self._encryption)
        rows = [row for kind in schema.RESOURCES for row in _rows(connection, kind, contents)]
        self._oldest = dict(versions.oldest(connection))
        self.snapshot = snapshot_of(rows, schema.RESOURCES)
        self.publication = published(self.snapshot, Publication(), rows)
        return rows

    def _take_over(self, connection: Connection, newest: Head) -> None:
        """Read the rows that the audit log names since our last change."""
        records = audit.between(connection, self._sequence, newest.sequence)
        snapshot, touched = self.snapshot, list[Row]()
        for kind in schema.RESOURCES:
            identifiers = sorted({entry.resource_id for _, entry in records if entry.kind == kind})
            contents = _contents(connection, self._encryption, identifiers) if kind == "certificate" else {}
            rows = {row.id: row for row in _rows(connection, kind, contents, identifiers)} if identifiers else {}
            for identifier in identifiers:
                before, after = snapshot.get(kind, identifier), rows.get(identifier)
                if before is not None or after is not None:
                    snapshot = snapshot.replaced(before, after)
                    touched += [row for row in (before, after) if row is not None]
        certificates = sorted({row.id for row in touched if row.kind == "certificate"})
        self._oldest |= versions.oldest(connection, certificates)
        self.snapshot, self.publication = snapshot, published(snapshot, self.publication, touched)
        self.tail.add(records)

    def now(self) -> datetime:
        """Return the present instant."""
        return self._clock()

    def versions(self, certificate_id: str) -> list[versions.Version]:
        """Return the kept contents of a certificate, newest first."""
        return versions.listed(self._engine, certificate_id)

    def kept(self, row: Row) -> int:
        """Return the number of kept contents of the certificate `row`."""
        return 0 if row.content is None else row.content.version - self._oldest.get(row.id, 1) + 1

    def content(self, certificate_id: str, number: int) -> Content | None:
        """Return a kept content of a certificate with its key; None if it is not kept."""
        return versions.content(self._engine, self._encryption, certificate_id, number)

    def audited(self, search: audit.Search) -> list[audit.Entry]:
        """Records of the audit log, the oldest first."""
        return audit.search(self._engine, search)

    def bulk_answer(self, actor: Actor, key: str) -> BulkAnswer | None:
        """Return the kept answer to the actor's bulk call `key`; None if it is unknown or more than a day old."""
        table = schema.bulk_answers
        own = (table.c.project_id == actor.project_id) & (table.c.user_id == actor.user_id) & (table.c.key == key)
        with reading(self._engine).connect() as connection:
            row = connection.execute(select(table).where(own)).mappings().first()
        return None if row is None else BulkAnswer(key=key, digest=row["digest"], items=row["items"])

    def prune_audit(self, before: datetime, most: int) -> int:
        """Delete the oldest records of the audit log, some at a time; return how many. See ``audit.prune``."""
        with self._writing, self._engine.begin() as connection:
            return audit.prune(connection, before, most)

    def oldest_event(self) -> int:
        """Return the sequence of the first record of the audit log."""
        return audit.oldest(self._engine)

    def newest_event(self) -> int:
        """Return the sequence of the last record of the audit log."""
        return audit.newest(self._engine)

    def _projected(self, transaction: Transaction) -> Publication:
        """Project before the write, so that no state that the data plane cannot represent reaches the disk."""
        touched = [row for change in transaction.changes for row in (change.before, change.after) if row is not None]
        return published(transaction.snapshot, self.publication, touched)

    def _committed(self, transaction: Transaction, prepared: Publication, records: Sequence[audit.Recorded]) -> None:
        self.tail.add(records)
        self._sequence = records[-1][1].sequence
        self.snapshot = transaction.snapshot
        for before, after, _ in transaction.changes:
            if (
                after is not None
                and after.content is not None
                and (before is None or after.content is not before.content)
            ):
                first = after.content.version - self._keep + 1
                self._oldest[after.id] = max(self._oldest.get(after.id, after.content.version), first)
            elif after is None and before is not None:
                self._oldest.pop(before.id, None)
        self._instant += timedelta(microseconds=len(transaction.changes))
        self.publication = prepared
        self._publish(self.publication)

    def _now(self) -> datetime:
        """Return an instant later than every one before, because rows are listed in the order of creation."""
        self._instant = max(self._clock(), self._instant + timedelta(microseconds=1))
        return self._instant


class _Writing:
    """One transaction's statements."""

    def __init__(self, connection: Connection, transaction: Transaction, encryption: EncryptionKeys, keep: int) -> None:
        self._connection = connection
        self._transaction = transaction
        self._encryption = encryption
        self._keep = keep

    def run(self) -> list[audit.Recorded]:
        made = self._transaction
        records = []
        for before, after, note in made.changes:
            if after is None:
                assert before is not None
                self._exactly_one(_DELETE[before.kind], _key(before))
            elif before is None:
                self._connection.execute(_INSERT[after.kind], _columns(after))
            else:
                self._exactly_one(_UPDATE[after.kind], _differing(before, after) | _key(before))
            if after is not None and after.content is not (before.content if before else None):
                versions.add(self._connection, after, self._origin(before, note), self._encryption, self._keep)
            change = (before, after)
            records.append(audit.append(self._connection, made.actor, made.request_id, made.now, change, note))
        if made.answer is not None:
            self._keep_answer(made.answer)
        return records

    def _keep_answer(self, answer: BulkAnswer) -> None:
        made = self._transaction
        self._connection.execute(_FORGET_ANSWERS, {"before": made.now - _ANSWERS_KEPT})
        self._connection.execute(
            insert(schema.bulk_answers),
            {
                "project_id": made.actor.project_id,
                "user_id": made.actor.user_id,
                "key": answer.key,
                "digest": answer.digest,
                "items": answer.items,
                "created_at": made.now,
            },
        )

    def _exactly_one(self, statement: Any, parameters: dict[str, Any]) -> None:
        if self._connection.execute(statement, parameters).rowcount != 1:
            raise ConflictError

    def _origin(self, before: Row | None, note: AuditNote) -> versions.Origin:
        made = self._transaction
        return versions.Origin(
            user=made.actor.name,
            at=made.now,
            via=note.via or ("create" if before is None else "put"),
            request_id=made.request_id,
        )


def _key(row: Row) -> dict[str, Any]:
    return {"at_id": row.id, "at_revision": row.revision}


def _columns(row: Row) -> dict[str, Any]:
    own = _OWN[row.kind]
    return {
        "id": row.id,
        "project_id": row.project_id,
        "data": {field: value for field, value in row.data.items() if field not in own},
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "revision": row.revision,
    } | {field: row.data[field] for field in own}


def _differing(before: Row, after: Row) -> dict[str, Any]:
    """Return the columns that differ, because writing an equal value still updates every index on it."""
    old = _columns(before)
    return {column: value for column, value in _columns(after).items() if value != old[column]}


def _at(table: Table) -> Any:
    return (table.c.id == bindparam("at_id")) & (table.c.revision == bindparam("at_revision"))


_INSERT: Final = {kind: insert(table) for kind, table in schema.RESOURCES.items()}
_UPDATE: Final = {kind: update(table).where(_at(table)) for kind, table in schema.RESOURCES.items()}
_DELETE: Final = {kind: delete(table).where(_at(table)) for kind, table in schema.RESOURCES.items()}


_FORGET_ANSWERS: Final = delete(schema.bulk_answers).where(schema.bulk_answers.c.created_at < bindparam("before"))


def _contents(
    connection: Connection, encryption: EncryptionKeys, only: Sequence[str] | None = None
) -> dict[str, Content]:
    """Return the present content of each certificate, or of those in `only`."""
    table, certificates = schema.certificate_versions, schema.certificates
    current = (table.c.certificate_id == certificates.c.id) & (table.c.version == certificates.c.version)
    last = (table.c.certificate_id == certificates.c.id) & (table.c.version == certificates.c.version - 1)
    chosen = true() if only is None else table.c.certificate_id.in_(only)
    before = {
        row.certificate_id: parse_chain(row.certificate)
        for row in connection.execute(
            select(table.c.certificate_id, table.c.certificate).join(certificates, last).where(chosen)
        )
    }
    records = connection.execute(select(table).join(certificates, current).where(chosen)).mappings()
    return {
        row["certificate_id"]: versions.opened(row, encryption, before.get(row["certificate_id"])) for row in records
    }


def _rows(
    connection: Connection, kind: str, contents: Mapping[str, Content], only: Sequence[str] | None = None
) -> list[Row]:
    """Return the rows of a kind, or those in `only`."""
    table = schema.RESOURCES[kind]
    query = select(table) if only is None else select(table).where(table.c.id.in_(only))
    return [_row(kind, record, contents) for record in connection.execute(query).mappings()]


def _row(kind: str, record: RowMapping, contents: Mapping[str, Content]) -> Row:
    if kind == "certificate" and record["id"] not in contents:
        raise StoreUnusable(f"The store is damaged: certificate {record['id']} has no content.")
    return Row(
        kind=kind,
        id=record["id"],
        project_id=record["project_id"],
        data={**record["data"], **{field: record[field] for field in _OWN[kind]}},
        created_at=record["created_at"],
        updated_at=record["updated_at"],
        revision=record["revision"],
        content=contents.get(record["id"]) if kind == "certificate" else None,
    )
