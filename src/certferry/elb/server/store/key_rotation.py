"""Encryption of a store's secrets: check that a key decrypts them, and encrypt them with another.

It is safe beside a running ELB: both lock the store. The ELB reads the key file again before it encrypts, and when it
does not know a key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine, Select, inspect, select, update

from certferry.elb.server.store import schema
from certferry.elb.server.store.database import forget_log, reading
from certferry.elb.server.store.rows import secret_purpose as acme_purpose
from certferry.elb.server.store.versions import key_purpose
from certferry.runtime.encryption import EncryptionKeys, key_id_of


def secret_purpose(access_key: str) -> str:
    """Return the purpose under which the secret half of an access key is encrypted."""
    return f"credential:{access_key}"


class EncryptedColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column of encrypted values, and the purpose that each value is bound to, by row."""

    column: Any
    purpose: Callable[[Any], str]


CA_PURPOSE: Final = "envoy-authority"
"""The purpose under which the key of the remote Envoys' CA is encrypted."""
_VERSIONS, _CREDENTIALS, _ACME = schema.certificate_versions, schema.credentials, schema.acme_secrets
ENCRYPTED_COLUMNS = (
    EncryptedColumn(column=_VERSIONS.c.sealed_key, purpose=lambda row: key_purpose(row.certificate_id, row.version)),
    EncryptedColumn(column=_CREDENTIALS.c.sealed_secret, purpose=lambda row: secret_purpose(row.access_key)),
    EncryptedColumn(column=schema.envoy_authority.c.sealed_key, purpose=lambda _: CA_PURPOSE),
    EncryptedColumn(column=_ACME.c.sealed_value, purpose=lambda row: acme_purpose(row.id, row.name)),
)
"""All encrypted columns of the store."""


def keys_needed(engine: Engine) -> frozenset[str]:
    """Return the ids of the keys that encrypt values in the store."""
    with reading(engine).connect() as connection:
        return frozenset(
            key_id_of(blob)
            for secret in _present(connection)
            for (blob,) in connection.execute(select(secret.column).where(secret.column.is_not(None)))
        )


def check_decrypts(engine: Engine, encryption: EncryptionKeys) -> int:
    """Decrypt every secret and return their number. Raises EncryptionError at the first failure."""
    opened = 0
    with reading(engine).connect() as connection:
        for secret in _present(connection):
            for row in connection.execute(_rows(secret)):
                encryption.decrypt(getattr(row, secret.column.name), secret.purpose(row))
                opened += 1
    return opened


def encrypt_again(engine: Engine, encryption: EncryptionKeys) -> int:
    """Encrypt every secret with the current key of `encryption` in one transaction; return the number of changes.

    Raises ``EncryptionError`` if a secret does not decrypt; then nothing has changed.
    """
    with engine.begin() as connection:
        changed = sum(_column(connection, secret, encryption) for secret in _present(connection))
    forget_log(engine)
    return changed


def _present(connection: Connection) -> list[EncryptedColumn]:
    """Return the columns that the database has: it may be an older program's."""
    tables = inspect(connection).get_table_names()
    return [secret for secret in ENCRYPTED_COLUMNS if secret.column.table.name in tables]


def _column(connection: Connection, secret: EncryptedColumn, encryption: EncryptionKeys) -> int:
    table, name = secret.column.table, secret.column.name
    keys = list(table.primary_key.columns)
    changed = 0
    for row in connection.execute(_rows(secret)).all():
        blob, purpose = getattr(row, name), secret.purpose(row)
        if key_id_of(blob) == encryption.current:
            continue
        where = [column == getattr(row, column.name) for column in keys]
        fresh = encryption.encrypt(encryption.decrypt(blob, purpose), purpose)
        connection.execute(update(table).where(*where).values({name: fresh}))
        changed += 1
    return changed


def _rows(secret: EncryptedColumn) -> Select[Any]:
    # no further columns: a backup may have an older schema
    return select(*secret.column.table.primary_key.columns, secret.column).where(secret.column.is_not(None))
