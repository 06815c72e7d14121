"""Rows and contents in the database: the statements that read and write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Table, bindparam, delete, insert, select, true, update

from certferry.core.x509.pem import PrivateKey, parse_chain
from certferry.elb.server.store import audit, schema, versions
from certferry.elb.server.store.audit import AuditNote
from certferry.elb.server.store.database import StoreUnusable
from certferry.elb.server.store.tables import Content, Row
from certferry.elb.server.store.transaction import BulkAnswer, ConflictError, Transaction
from certferry.runtime.encryption import EncryptionKeys

_COMMON: Final = ("id", "project_id", "data", "created_at", "updated_at", "revision")
_OWN: Final[dict[str, tuple[str, ...]]] = {
    kind: tuple(str(c.name) for c in table.columns if c.name not in _COMMON) for kind, table in schema.RESOURCES.items()
}
"""Kind → the wire fields that have a column of their own (plain text: SQLAlchemy has names of its own kind)."""
_ANSWERS_KEPT: Final = timedelta(days=1)


class TransactionWriter:
    """Writes the changes of one transaction."""

    def __init__(self, connection: Connection, transaction: Transaction, encryption: EncryptionKeys, keep: int) -> None:
        self._connection = connection
        self._transaction = transaction
        self._encryption = encryption
        self._keep = keep

    def run(self) -> list[audit.Recorded]:
        """Write all changes with their audit records. Raises ConflictError if another process changed a row."""
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
        self._write_secrets(made.secrets)
        if made.answer is not None:
            self._keep_answer(made.answer)
        return records

    def _write_secrets(self, secrets: Mapping[tuple[str, str], PrivateKey | None]) -> None:
        table = schema.acme_secrets
        for (identifier, name), secret in sorted(secrets.items()):
            self._connection.execute(delete(table).where(table.c.id == identifier, table.c.name == name))
            if secret is not None:
                sealed = self._encryption.encrypt(secret.reveal().encode(), secret_purpose(identifier, name))
                self._connection.execute(insert(table).values(id=identifier, name=name, sealed_value=sealed))

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


def secret_purpose(identifier: str, name: str) -> str:
    """Return the purpose under which a secret of an issuer or order is encrypted."""
    return f"acme:{identifier}:{name}"


def read_secret(connection: Connection, encryption: EncryptionKeys, identifier: str, name: str) -> PrivateKey | None:
    """Return a secret of an issuer or order; None if absent. Raises EncryptionError with the wrong key."""
    table = schema.acme_secrets
    query = select(table.c.sealed_value).where(table.c.id == identifier, table.c.name == name)
    sealed = connection.execute(query).scalar()
    return (
        None
        if sealed is None
        else PrivateKey(encryption.decrypt(sealed, secret_purpose(identifier, name)).decode(), "")
    )


def read_contents(
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


def read_rows(
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
