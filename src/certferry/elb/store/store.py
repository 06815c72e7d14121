"""The durable store of the ELB: one writer, and a world in memory that readers never wait for.

The API calls ``transact`` with a function that decides on a ``Transaction`` (what is there, what to
put, what to delete); nothing is written while it decides. Then all of it is committed at once, the
audit log with it, and the new state is published. It knows no HTTP and none of the resources' rules.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, RowMapping, Table, bindparam, delete, insert, select, update

from certferry.core.pem import PrivateKey, parse_chain
from certferry.elb.identity.actor import Actor
from certferry.elb.plane.projection import published
from certferry.elb.plane.publication import Publication
from certferry.elb.store import schema
from certferry.elb.store.database import StoreUnusable, reading
from certferry.elb.store.world import Content, Row, World, world_of
from certferry.seal import Seal

T = TypeVar("T")

_COMMON: Final = ("id", "project_id", "data", "created_at", "updated_at", "revision")
_OWN: Final[dict[str, tuple[str, ...]]] = {
    kind: tuple(str(c.name) for c in table.columns if c.name not in _COMMON)
    for kind, table in schema.RESOURCES.items()
}
"""Kind → the wire fields that have a column of their own (plain text: SQLAlchemy has names of its own kind)."""


class Stale(Exception):
    """Somebody else wrote the same row in between; nothing was stored. Try again."""


class Transaction:
    """What a request decides: reads see its own puts and deletes, the database nothing until the end."""

    def __init__(self, world: World, actor: Actor, request_id: str, now: datetime) -> None:
        self.world = world
        self.actor = actor
        self.request_id = request_id
        self.now = now
        self.changes: list[tuple[Row | None, Row | None]] = []
        """(before, after), in order; None for what was not there, or is not any more."""

    def create(
        self, kind: str, identifier: str, data: Mapping[str, Any], content: Content | None = None
    ) -> Row:
        """A new row of the actor's project."""
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
        """`before` with other data, or content; the very same row where nothing differs."""
        content = content or before.content
        if data == before.data and content is before.content:
            return before
        after = msgspec.structs.replace(
            before, data=data, content=content, updated_at=self.now, revision=before.revision + 1
        )
        self._change(before, after)
        return after

    def delete(self, row: Row) -> None:
        """`row` is gone; what refers to it must be gone before."""
        self._change(row, None)

    def _change(self, before: Row | None, after: Row | None) -> None:
        self.changes.append((before, after))
        if after is not None:
            self.world = self.world.having(after)
        elif before is not None:
            self.world = self.world.without(before)


class Store:
    """The resources of every project. `publish` is called after each commit, in the writer's thread."""

    def __init__(
        self,
        engine: Engine,
        seal: Seal,
        *,
        versions: int = 5,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._seal = seal
        self._versions = versions
        self._clock = clock
        self._writing = threading.Lock()
        self._publish: Callable[[Publication], None] = lambda _: None
        self.world = _load(engine, seal)
        rows = [row for kind in schema.RESOURCES for row in self.world.table(kind).rows.values()]
        self.publication = published(self.world, Publication(), rows)
        self._instant = max((row.updated_at for row in rows), default=datetime.min.replace(tzinfo=UTC))

    def on_commit(self, publish: Callable[[Publication], None]) -> None:
        """From now on `publish` gets the publication of every commit, in order."""
        with self._writing:
            self._publish = publish
            publish(self.publication)

    def transact(self, actor: Actor, request_id: str, decide: Callable[[Transaction], T]) -> tuple[T, World]:
        """Runs `decide` and commits what it decided, all or nothing; what it raises goes through.

        Its result, and the world right after.

        Raises ``Stale`` when another process changed a row in between.
        """
        with self._writing:
            transaction = Transaction(self.world, actor, request_id, self._now())
            result = decide(transaction)
            if transaction.changes:
                with self._engine.begin() as connection:
                    _Writing(connection, transaction, self._seal, self._versions).run()
                self._take(transaction)
            return result, self.world

    def _take(self, transaction: Transaction) -> None:
        self.world = transaction.world
        self._instant += timedelta(microseconds=len(transaction.changes))
        touched = [row for change in transaction.changes for row in change if row is not None]
        self.publication = published(self.world, self.publication, touched)
        self._publish(self.publication)

    def _now(self) -> datetime:
        """Never the same instant twice and never backwards: rows are listed in the order of creation."""
        self._instant = max(self._clock(), self._instant + timedelta(microseconds=1))
        return self._instant


class _Writing:
    """One transaction's statements."""

    def __init__(self, connection: Connection, transaction: Transaction, seal: Seal, versions: int) -> None:
        self._connection = connection
        self._transaction = transaction
        self._seal = seal
        self._versions = versions

    def run(self) -> None:
        for before, after in self._transaction.changes:
            if after is None:
                assert before is not None
                self._exactly_one(_DELETE[before.kind], _key(before))
            elif before is None:
                self._connection.execute(_INSERT[after.kind], _columns(after))
            else:
                self._exactly_one(_UPDATE[after.kind], _columns(after) | _key(before))
            if after is not None and after.content is not (before.content if before else None):
                self._add_version(after)
            self._audit(before, after)

    def _exactly_one(self, statement: Any, parameters: dict[str, Any]) -> None:
        if self._connection.execute(statement, parameters).rowcount != 1:
            raise Stale

    def _add_version(self, row: Row) -> None:
        content = row.content
        assert content is not None
        purpose = key_purpose(row.id, content.version)
        key = content.key
        self._connection.execute(
            _INSERT_VERSION,
            {
                "certificate_id": row.id,
                "version": content.version,
                "digest": content.chain.digest,
                "fingerprint": content.chain.fingerprint,
                "not_before": content.chain.not_before,
                "not_after": content.chain.not_after,
                "certificate": content.chain.pem,
                "sealed_key": self._seal.seal(key.reveal().encode(), purpose) if key else None,
                "actor": self._transaction.actor.name,
                "created_at": self._transaction.now,
            },
        )
        oldest = content.version - self._versions
        if oldest > 0:
            self._connection.execute(_FORGET_VERSIONS, {"of": row.id, "oldest": oldest})

    def _audit(self, before: Row | None, after: Row | None) -> None:
        row = after or before
        assert row is not None
        actor = self._transaction.actor
        self._connection.execute(
            _INSERT_AUDIT,
            {
                "at": self._transaction.now,
                "actor": actor.name,
                "role": actor.role,
                "request_id": self._transaction.request_id,
                "project_id": row.project_id,
                "action": "create" if before is None else "delete" if after is None else "update",
                "kind": row.kind,
                "object_id": row.id,
                "fields": sorted(_differing(before, after)),
                "fingerprint": row.content.chain.fingerprint if row.content else None,
            },
        )


def key_purpose(certificate_id: str, version: int) -> str:
    """What the sealed key of one version is bound to."""
    return f"certificate:{certificate_id}:{version}"


def _differing(before: Row | None, after: Row | None) -> Iterator[str]:
    if before is None or after is None:
        return
    for field, value in after.data.items():
        if before.data.get(field) != value:
            yield field
    if before.content is not after.content:
        yield "certificate"


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


def _at(table: Table) -> Any:
    return (table.c.id == bindparam("at_id")) & (table.c.revision == bindparam("at_revision"))


_INSERT: Final = {kind: insert(table) for kind, table in schema.RESOURCES.items()}
_UPDATE: Final = {kind: update(table).where(_at(table)) for kind, table in schema.RESOURCES.items()}
_DELETE: Final = {kind: delete(table).where(_at(table)) for kind, table in schema.RESOURCES.items()}
_INSERT_VERSION: Final = insert(schema.certificate_versions)
_INSERT_AUDIT: Final = insert(schema.audit)
_FORGET_VERSIONS: Final = delete(schema.certificate_versions).where(
    schema.certificate_versions.c.certificate_id == bindparam("of"),
    schema.certificate_versions.c.version <= bindparam("oldest"),
)


def _load(engine: Engine, seal: Seal) -> World:
    """Everything, at start. Raises ``StoreUnusable`` or, with the wrong key, ``SealError``."""
    with reading(engine).connect() as connection:
        contents = _contents(connection, seal)
        rows = [
            _row(kind, found, contents)
            for kind, table in schema.RESOURCES.items()
            for found in connection.execute(select(table)).mappings()
        ]
    return world_of(rows, schema.RESOURCES)


def _contents(connection: Connection, seal: Seal) -> dict[str, Content]:
    versions, certificates = schema.certificate_versions, schema.certificates
    current = (versions.c.certificate_id == certificates.c.id) & (
        versions.c.version == certificates.c.version
    )
    found = connection.execute(select(versions).join(certificates, current)).mappings()
    return {row["certificate_id"]: _content(row, seal) for row in found}


def _content(row: RowMapping, seal: Seal) -> Content:
    chain = parse_chain(row["certificate"])
    key = None
    if row["sealed_key"] is not None:
        purpose = key_purpose(row["certificate_id"], row["version"])
        key = PrivateKey(seal.unseal(row["sealed_key"], purpose).decode(), chain.spki)
    return Content(version=row["version"], chain=chain, key=key)


def _row(kind: str, found: RowMapping, contents: Mapping[str, Content]) -> Row:
    if kind == "certificate" and found["id"] not in contents:
        raise StoreUnusable(f"The store is damaged: certificate {found['id']} has no content.")
    return Row(
        kind=kind,
        id=found["id"],
        project_id=found["project_id"],
        data={**found["data"], **{field: found[field] for field in _OWN[kind]}},
        created_at=found["created_at"],
        updated_at=found["updated_at"],
        revision=found["revision"],
        content=contents.get(found["id"]) if kind == "certificate" else None,
    )
