"""Credential files in a backup: the list of remote Envoys and their CA.

They are files because a command changes them beside a running ELB. In a backup they are encrypted rows of a table that
a running store does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Column, Engine, LargeBinary, MetaData, String, Table, inspect, select

from certferry.elb.server.store.database import forget_log, reading
from certferry.runtime.encryption import EncryptionKeys, key_id_of

_FILES = Table(
    "attached_files",
    MetaData(),
    Column("name", String, primary_key=True),
    Column("sealed_content", LargeBinary, nullable=False),
)


def add_files(engine: Engine, encryption: EncryptionKeys, files: Mapping[str, Path]) -> None:
    """Add the `files` that exist to the backup at `engine`, by name. Raises OSError."""
    stored = {name: path.read_bytes() for name, path in files.items() if path.exists()}
    if not stored:
        return
    with engine.begin() as connection:
        _FILES.create(connection)
        for name, content in stored.items():
            ciphertext = encryption.encrypt(content, _purpose(name))
            connection.execute(_FILES.insert(), {"name": name, "sealed_content": ciphertext})


def extract_files(engine: Engine, encryption: EncryptionKeys) -> dict[str, bytes]:
    """Remove the files from the backup and return their content by name. Raises ``EncryptionError``."""
    encrypted = _rows(engine)
    files = {name: encryption.decrypt(content, _purpose(name)) for name, content in encrypted.items()}
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


def _purpose(name: str) -> str:
    return f"attached/{name}"
