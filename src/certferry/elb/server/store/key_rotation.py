"""The sealing key of a store: whether it opens everything, and another in its place.

``certferry rotate-seal-key``, ``backup`` and ``restore`` call it, also beside a running ELB: that one
looks at the key file before it seals and where a key is unknown to it, and both lock the store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Select, select, update

from certferry.elb.server.store import schema
from certferry.elb.server.store.database import forget_log, reading
from certferry.elb.server.store.versions import key_purpose
from certferry.runtime.encryption import EncryptionKeys, key_id_of


def secret_purpose(access_key: str) -> str:
    """Return the purpose under which the secret half of an access key is encrypted."""
    return f"credential:{access_key}"


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """A column of sealed values, and what each value is bound to."""

    column: Any
    purpose: Callable[[Any], str]


_VERSIONS, _CREDENTIALS = schema.certificate_versions, schema.credentials
SEALED = (
    Sealed(column=_VERSIONS.c.sealed_key, purpose=lambda row: key_purpose(row.certificate_id, row.version)),
    Sealed(column=_CREDENTIALS.c.sealed_secret, purpose=lambda row: secret_purpose(row.access_key)),
)
"""Everything in the store that is sealed."""


def keys_needed(engine: Engine) -> frozenset[str]:
    """Return the ids of the keys that encrypt values in the store."""
    with reading(engine).connect() as connection:
        return frozenset(
            key_id_of(blob)
            for sealed in SEALED
            for (blob,) in connection.execute(select(sealed.column).where(sealed.column.is_not(None)))
        )


def check_opens(engine: Engine, seal: EncryptionKeys) -> int:
    """Decrypt every secret and return their number. Raises SealError at the first failure."""
    opened = 0
    with reading(engine).connect() as connection:
        for sealed in SEALED:
            for row in connection.execute(_rows(sealed)):
                seal.decrypt(getattr(row, sealed.column.name), sealed.purpose(row))
                opened += 1
    return opened


def seal_anew(engine: Engine, seal: EncryptionKeys) -> int:
    """Encrypt everything under the key of `seal` that seals now, in one transaction; how much that was.

    Raises ``SealError`` where something does not open; then nothing has changed.
    """
    with engine.begin() as connection:
        changed = sum(_column(connection, sealed, seal) for sealed in SEALED)
    forget_log(engine)
    return changed


def _column(connection: Connection, sealed: Sealed, seal: EncryptionKeys) -> int:
    table, name = sealed.column.table, sealed.column.name
    keys = list(table.primary_key.columns)
    changed = 0
    for row in connection.execute(_rows(sealed)).all():
        blob, purpose = getattr(row, name), sealed.purpose(row)
        if key_id_of(blob) == seal.current:
            continue
        where = [column == getattr(row, column.name) for column in keys]
        fresh = seal.encrypt(seal.decrypt(blob, purpose), purpose)
        connection.execute(update(table).where(*where).values({name: fresh}))
        changed += 1
    return changed


def _rows(sealed: Sealed) -> Select[Any]:
    # no further columns: a backup may have an older schema
    return select(*sealed.column.table.primary_key.columns, sealed.column).where(sealed.column.is_not(None))
