"""The durable store of the ELB: one writer, and a snapshot in memory for readers, which never wait.

A transaction is decided on a snapshot; nothing is written meanwhile. Then its changes and their audit records are
committed at once, and the new state is published.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog
from sqlalchemy import Connection, Engine, select

from certferry.core.x509.pem import PrivateKey
from certferry.elb.server.actor import Actor
from certferry.elb.server.store import audit, schema, versions
from certferry.elb.server.store.database import consistent, reading
from certferry.elb.server.store.projection import Publication, published
from certferry.elb.server.store.rows import TransactionWriter, read_contents, read_rows, read_secret
from certferry.elb.server.store.shared import head
from certferry.elb.server.store.shared.head import Head
from certferry.elb.server.store.tables import Content, Row, StoreSnapshot, snapshot_of
from certferry.elb.server.store.transaction import BulkAnswer, Transaction
from certferry.runtime.encryption import EncryptionKeys

T = TypeVar("T")
_log = structlog.get_logger("certferry.elb")


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
        with consistent(self._engine) as connection:
            rows = self._load(connection)
            self._sequence = head.read(connection).sequence
            self._last = audit.instant_of(connection, self._sequence)
            """The instant of our last change: another process's change may have the same sequence after a fallback."""
        self._instant = max((row.updated_at for row in rows), default=datetime.min.replace(tzinfo=UTC))
        self._shared = engine.dialect.name == "postgresql"
        """True if other processes may write the resources."""

    def on_commit(self, publish: Callable[[Publication], None]) -> None:
        """Call `publish` with the present publication, and with that of every later commit, in order."""
        with self._writing:
            self._publish = publish
            publish(self.publication)

    def transact(self, actor: Actor, request_id: str, decide: Callable[[Transaction], T]) -> tuple[T, StoreSnapshot]:
        """Run `decide` and commit its changes; return its result and the snapshot right after.

        If `decide` raises, nothing is committed. Raises ``ConflictError`` if another process changed a row in between.
        """
        with self._writing, ExitStack() as stack:
            connection = None
            if self._shared:
                # No other process may write while `decide` looks at the snapshot.
                connection = stack.enter_context(self._engine.begin())
                self._catch_up(connection, head.lock(connection))
            transaction = Transaction(self.snapshot, actor, request_id, self._now())
            result = decide(transaction)
            if transaction.changes:
                prepared = self._projected(transaction)
                connection = connection or stack.enter_context(self._engine.begin())
                records = TransactionWriter(connection, transaction, self._encryption, self._keep).run()
                head.advance(connection, transaction.now)
                stack.close()  # commits
                self._committed(transaction, prepared, records)
            return result, self.snapshot

    def catch_up(self) -> None:
        """Take over what other processes committed, and publish it."""
        with self._writing, consistent(self._engine) as connection:
            self._catch_up(connection, head.read(connection))

    def _catch_up(self, connection: Connection, newest: Head | None) -> None:
        if newest is None or newest.sequence == self._sequence:
            return
        records = audit.between(connection, self._sequence, newest.sequence)
        # Read after the records: then nothing that follows our last change was pruned before they were read.
        present = audit.instant_of(connection, self._sequence)
        fell_back = newest.sequence < self._sequence or present not in {None, self._last}
        if present is not None and not fell_back:
            self._take_over(connection, records)
        else:
            if fell_back:
                _log.error(
                    "the database lost committed changes",
                    last=self._sequence,
                    present=newest.sequence,
                    advice="It fell back to an older state, such as a standby's. This ELB follows it now.",
                )
            self._load(connection)
            self.tail.reset()
        self._instant = max(self._instant, newest.instant)
        self._sequence = newest.sequence
        self._last = audit.instant_of(connection, self._sequence)
        self._publish(self.publication)

    def _load(self, connection: Connection) -> list[Row]:
        """Read everything and return all rows. Raises StoreUnusable, or EncryptionError with the wrong key."""
        contents = read_contents(connection, self._encryption)
        rows = [row for kind in schema.RESOURCES for row in read_rows(connection, kind, contents)]
        self._oldest = dict(versions.oldest(connection))
        self.snapshot = snapshot_of(rows, schema.RESOURCES)
        self.publication = published(self.snapshot, Publication(), rows)
        return rows

    def _take_over(self, connection: Connection, records: Sequence[audit.Recorded]) -> None:
        """Read the rows that `records`, the audit log since our last change, name."""
        snapshot, touched = self.snapshot, list[Row]()
        for kind in schema.RESOURCES:
            identifiers = sorted({entry.resource_id for _, entry in records if entry.kind == kind})
            contents = read_contents(connection, self._encryption, identifiers) if kind == "certificate" else {}
            rows = {row.id: row for row in read_rows(connection, kind, contents, identifiers)} if identifiers else {}
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

    def secret(self, identifier: str, name: str) -> PrivateKey | None:
        """Return a secret of an issuer or order; None if absent. Raises EncryptionError with the wrong key."""
        with reading(self._engine).connect() as connection:
            return read_secret(connection, self._encryption, identifier, name)

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
        self._sequence, self._last = records[-1][1].sequence, records[-1][1].at
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
