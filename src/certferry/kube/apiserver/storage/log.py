"""The durable log of changes: one SQLite file, one writer thread, one commit for changes that arrive together.

Every change is one row, and the newest row of an object is its state. The kept rows are the history for
watches. Bodies of encrypted kinds are encrypted here.

WAL with synchronous=FULL: a change is reported only after its commit reached the disk, so that an answered
write survives a power cut. A failed commit fails its own writes and nothing else.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from certferry.runtime.encryption import EncryptionKeys

Verb = Literal["ADDED", "MODIFIED", "DELETED"]
T = TypeVar("T")

SCHEMA = (
    """
    CREATE TABLE change (
        revision INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        verb TEXT NOT NULL,
        facts BLOB NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE current (
        kind TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        revision INTEGER NOT NULL,
        PRIMARY KEY (kind, namespace, name)
    ) WITHOUT ROWID;
    CREATE TABLE setting (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO setting VALUES ('revision', 0), ('compacted', 0);
    """,
)
"""Migrations: the n-th upgrades a store from schema version n to n + 1 (PRAGMA user_version)."""

STORE_FILE = "store.db"
"""Name of the log in the server's folder."""
_BATCH = 256
_COMPACT_EVERY = 1_000


class StoreTooNew(Exception):
    """A newer program wrote the file."""


class IndexedFields(msgspec.Struct, frozen=True, gc=False):
    """The labels and fields of an object that selectors compare."""

    labels: dict[str, str]
    fields: dict[str, str]


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A stored object: its JSON, and the indexed fields that need no decoding."""

    kind: str
    namespace: str
    name: str
    revision: int
    body: bytes
    indexed: IndexedFields

    @property
    def key(self) -> tuple[str, str, str]:
        """Return the identity: kind, namespace, name."""
        return self.kind, self.namespace, self.name


class Change(msgspec.Struct, frozen=True, gc=False):
    """One change of an object; a deletion carries its last state."""

    verb: Verb
    stored: Stored
    before: IndexedFields | None


class _Row(msgspec.Struct, frozen=True):
    now: IndexedFields
    before: IndexedFields | None


class Retention(msgspec.Struct, frozen=True):
    """The kept history: at least this many revisions and at least this many seconds."""

    revisions: int = 10_000
    seconds: float = 600


Report = Callable[[list[Change], Exception | None], None]


class Store:
    """An open log. ``start`` accepts changes; ``close`` commits them and closes the file."""

    def __init__(
        self, path: Path, encryption: EncryptionKeys, encrypted_kinds: frozenset[str], retention: Retention
    ) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._encryption, self._encrypted_kinds, self._retention = encryption, encrypted_kinds, retention
        self._queue: queue.SimpleQueue[Change | Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._since_compaction = 0
        self._report: Callable[[list[Change], Exception | None], None]
        self._prepare()
        settings = dict(self._database.execute("SELECT name, value FROM setting"))
        newest = self._database.execute("SELECT max(revision) FROM change").fetchone()[0] or 0
        self.revision = max(settings["revision"], newest)
        self.compacted = settings["compacted"]

    def _prepare(self) -> None:
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        if version > len(SCHEMA):
            raise StoreTooNew(
                f"has schema version {version}, and this program knows versions up to {len(SCHEMA)}: "
                "start it with the newer Certferry that wrote it"
            )
        for number in range(version, len(SCHEMA)):
            self._database.executescript(f"BEGIN; {SCHEMA[number]} PRAGMA user_version = {number + 1}; COMMIT;")

    def objects(self) -> Iterable[Stored]:
        """Yield all objects; call before ``start``."""
        rows = self._database.execute(
            "SELECT c.revision, c.kind, c.namespace, c.name, c.verb, c.facts, c.body"
            " FROM current JOIN change AS c USING (revision) ORDER BY c.revision"
        )
        return (self._change(row).stored for row in rows)

    def start(self, report: Report) -> None:
        """Accept changes from now on. Calls `report` in the running loop, in the order of revisions."""
        loop = asyncio.get_running_loop()

        def threadsafe(batch: list[Change], error: Exception | None) -> None:
            loop.call_soon_threadsafe(report, batch, error)

        self._report = threadsafe
        self._thread.start()

    def append(self, change: Change) -> None:
        """Queue `change`; its commit or failure is reported."""
        self._queue.put(change)

    async def after(self, kind: str, revision: int, most: int) -> list[Change]:
        """Return the kept changes of `kind` after `revision`, oldest first, at most `most`."""

        def read() -> list[Change]:
            rows = self._database.execute(
                "SELECT revision, kind, namespace, name, verb, facts, body FROM change"
                " WHERE revision > ? AND kind = ? ORDER BY revision LIMIT ?",
                (revision, kind, most),
            )
            return [self._change(row) for row in rows]

        return await self._call(read)

    async def close(self) -> None:
        """Commit the queued changes and close the file."""
        if self._thread.is_alive():
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
        self._database.close()

    async def _call(self, work: Callable[[], T]) -> T:
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(work())
            except sqlite3.Error as error:
                future.set_exception(error)

        self._queue.put(run)
        return await asyncio.wrap_future(future)

    def _run(self) -> None:
        while True:
            batch: list[Change] = []
            item = self._queue.get()
            while isinstance(item, Change):
                batch.append(item)
                if len(batch) == _BATCH or self._queue.empty():
                    break
                item = self._queue.get()
            if batch:
                self._commit(batch)
            if item is None:
                return
            if not isinstance(item, Change):
                item()

    def _commit(self, batch: list[Change]) -> None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            for change in batch:
                self._write(change)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            self._report(batch, error)
            return
        self._report(batch, None)
        self._since_compaction += len(batch)
        if self._since_compaction >= min(_COMPACT_EVERY, self._retention.revisions):
            self._since_compaction = 0
            self._compact()

    def _write(self, change: Change) -> None:
        existing = change.stored
        facts = msgspec.json.encode(_Row(existing.indexed, change.before))
        body = (
            self._encryption.encrypt(existing.body, _purpose(existing))
            if existing.kind in self._encrypted_kinds
            else existing.body
        )
        self._database.execute(
            "INSERT INTO change VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (existing.revision, time.time(), *existing.key, change.verb, facts, body),
        )
        if change.verb == "DELETED":
            self._database.execute("DELETE FROM current WHERE (kind, namespace, name) = (?, ?, ?)", existing.key)
        else:
            self._database.execute(
                "INSERT OR REPLACE INTO current VALUES (?, ?, ?, ?)", (*existing.key, existing.revision)
            )

    def _compact(self) -> None:
        """Delete superseded rows beyond the retention; after a failure try again with the next commits."""
        try:
            newest = self._database.execute("SELECT max(revision) FROM change").fetchone()[0]
            young = self._database.execute(
                "SELECT min(revision) FROM change WHERE revision > ? AND at >= ?",
                (self.compacted, time.time() - self._retention.seconds),
            ).fetchone()[0]
            horizon = min(newest - self._retention.revisions, (young or newest) - 1)
            if horizon <= self.compacted:
                return
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute(
                "DELETE FROM change WHERE revision <= ? AND revision NOT IN (SELECT revision FROM current)", (horizon,)
            )
            self._database.executemany(
                "UPDATE setting SET value = ? WHERE name = ?", [(horizon, "compacted"), (newest, "revision")]
            )
            self._database.execute("COMMIT")
            self.compacted = horizon
        except sqlite3.Error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")

    def _change(self, row: tuple[Any, ...]) -> Change:
        revision, kind, namespace, name, verb, facts, body = row
        indexed = msgspec.json.decode(facts, type=_Row)
        stored = Stored(kind, namespace, name, revision, body, indexed.now)
        if kind in self._encrypted_kinds:
            stored = msgspec.structs.replace(stored, body=self._encryption.decrypt(body, _purpose(stored)))
        return Change(verb, stored, indexed.before)


def _purpose(stored: Stored) -> str:
    return purpose(*stored.key, stored.revision)


def purpose(kind: str, namespace: str, name: str, revision: int) -> str:
    """Return the encryption purpose of one revision's body."""
    return f"kube/{kind}/{namespace}/{name}/{revision}"
