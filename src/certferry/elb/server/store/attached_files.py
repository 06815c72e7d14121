"""Files in a backup of version 0.1: the list of remote Envoys and their CA, as encrypted rows of a table."""

from __future__ import annotations

from sqlalchemy import Column, Engine, LargeBinary, MetaData, String, Table, inspect, select

from certferry.elb.server.store.database import forget_log, reading
from certferry.runtime.encryption import EncryptionKeys, key_id_of

_FILES = Table(
    "attached_files",
    MetaData(),
    Column("name", String, primary_key=True),
    Column("sealed_content", LargeBinary, nullable=False),
)


def extract(engine: Engine, encryption: EncryptionKeys) -> dict[str, bytes]:
    """Remove the files from the backup and return their content by name. Raises ``EncryptionError``."""
    encrypted = _rows(engine)
    files = {name: encryption.decrypt(content, f"attached/{name}") for name, content in encrypted.items()}
    if encrypted:
        with engine.begin() as connection:
            _FILES.drop(connection)
        forget_log(engine)
    return files


def keys_needed(engine: Engine) -> frozenset[str]:
    """Return the ids of the keys that encrypt them."""
    return frozenset(map(key_id_of, _rows(engine).values()))


def _rows(engine: Engine) -> dict[str, bytes]:
    with reading(engine).connect() as connection:
        if not inspect(connection).has_table(_FILES.name):
            return {}
        return {row.name: row.sealed_content for row in connection.execute(select(_FILES))}
