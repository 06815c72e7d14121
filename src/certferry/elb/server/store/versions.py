"""Versions of a certificate: each write adds one, the oldest is dropped, and a rollback reads one.

A key is encrypted for its certificate and version. A row that is moved elsewhere cannot be decrypted.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from certferry.core.x509.pem import Chain, PrivateKey, parse_chain
from certferry.elb.server.store import schema
from certferry.elb.server.store.database import reading
from certferry.elb.server.store.tables import Content, Row
from certferry.runtime.encryption import EncryptionError, EncryptionKeys

_log = structlog.get_logger("certferry.elb")


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One content, without its key."""

    number: int
    fingerprint: str
    digest: str
    spki: str
    not_before: datetime
    not_after: datetime
    domains: tuple[str, ...]
    created_at: datetime
    user: str
    via: str
    request_id: str


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The user, time and operation that wrote a content."""

    user: str
    at: datetime
    via: str
    request_id: str


def add(connection: Connection, row: Row, origin: Origin, encryption: EncryptionKeys, keep: int) -> None:
    """Store the content of `row` as its newest version, and delete all but the last `keep`."""
    content = row.content
    assert content is not None
    key = content.key
    connection.execute(
        _INSERT,
        {
            "certificate_id": row.id,
            "version": content.version,
            "digest": content.chain.digest,
            "fingerprint": content.chain.fingerprint,
            "not_before": content.chain.not_before,
            "not_after": content.chain.not_after,
            "certificate": content.chain.pem,
            "sealed_key": encryption.encrypt(key.reveal().encode(), key_purpose(row.id, content.version))
            if key
            else None,
            "actor": origin.user,
            "created_at": origin.at,
            "via": origin.via,
            "request_id": origin.request_id,
        },
    )
    oldest = content.version - keep
    if oldest > 0:
        connection.execute(_FORGET, {"of": row.id, "oldest": oldest})


def listed(engine: Engine, certificate_id: str) -> list[Version]:
    """Return the kept contents, newest first."""
    table = schema.certificate_versions
    query = select(table).where(table.c.certificate_id == certificate_id).order_by(table.c.version.desc())
    with reading(engine).connect() as connection:
        return [_version(row) for row in connection.execute(query).mappings()]


def content(engine: Engine, encryption: EncryptionKeys, certificate_id: str, number: int) -> Content | None:
    """Return a kept content with its key; None if it is not kept."""
    table = schema.certificate_versions
    query = select(table).where(table.c.certificate_id == certificate_id, table.c.version == number)
    with reading(engine).connect() as connection:
        row = connection.execute(query).mappings().first()
    return None if row is None else opened(row, encryption)


def content_of(engine: Engine, encryption: EncryptionKeys, digest: str) -> tuple[Chain, PrivateKey | None] | None:
    """Return a kept content of any certificate by ``Chain.digest``; None if it is not kept or cannot be read."""
    table = schema.certificate_versions
    try:
        with reading(engine).connect() as connection:
            row = connection.execute(select(table).where(table.c.digest == digest).limit(1)).mappings().first()
        content = None if row is None else opened(row, encryption)
    except (SQLAlchemyError, EncryptionError) as error:
        _log.error("kept content not read", reason=str(getattr(error, "orig", error)))
        return None
    return None if content is None else (content.chain, content.key)


def oldest(connection: Connection, only: Sequence[str] | None = None) -> dict[str, int]:
    """Return the number of the oldest kept content by certificate, or of those in `only`."""
    table = schema.certificate_versions
    query = select(table.c.certificate_id, func.min(table.c.version)).group_by(table.c.certificate_id)
    if only is not None:
        query = query.where(table.c.certificate_id.in_(only))
    return {row[0]: row[1] for row in connection.execute(query)}


def opened(row: Any, encryption: EncryptionKeys, before: Chain | None = None) -> Content:
    """Decode the content in `row`, after `before`. Raises EncryptionError with the wrong key."""
    chain = parse_chain(row["certificate"])
    key = None
    if row["sealed_key"] is not None:
        purpose = key_purpose(row["certificate_id"], row["version"])
        key = PrivateKey(encryption.decrypt(row["sealed_key"], purpose).decode(), chain.spki)
    return Content(version=row["version"], chain=chain, key=key, before=before)


def key_purpose(certificate_id: str, version: int) -> str:
    """Return the purpose under which the private key of one version is encrypted."""
    return f"certificate:{certificate_id}:{version}"


def _version(row: Any) -> Version:
    chain = parse_chain(row["certificate"])
    return Version(
        number=row["version"],
        fingerprint=row["fingerprint"],
        digest=row["digest"],
        spki=chain.spki,
        not_before=row["not_before"],
        not_after=row["not_after"],
        domains=chain.names,
        created_at=row["created_at"],
        user=row["actor"],
        via=row["via"] or ("create" if row["version"] == 1 else "put"),
        request_id=row["request_id"] or "",
    )


_INSERT: Final = insert(schema.certificate_versions)
_FORGET: Final = delete(schema.certificate_versions).where(
    schema.certificate_versions.c.certificate_id == bindparam("of"),
    schema.certificate_versions.c.version <= bindparam("oldest"),
)
