"""Files that travel in a backup: which further Envoys are let in, and the authority that vouches for them.

``keeping`` calls it. They are files because a command changes them beside a running ELB; in a backup
they are rows, sealed like everything else that is secret there, and the running store knows no such table.
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


def add_files(engine: Engine, seal: EncryptionKeys, files: Mapping[str, Path]) -> None:
    """Puts those of `files` that exist into the backup at `engine`, by name. Raises OSError."""
    stored = {name: path.read_bytes() for name, path in files.items() if path.exists()}
    if not stored:
        return
    with engine.begin() as connection:
        _FILES.create(connection)
        for name, content in stored.items():
            sealed = seal.encrypt(content, _purpose(name))
            connection.execute(_FILES.insert(), {"name": name, "sealed_content": sealed})


def extract_files(engine: Engine, seal: EncryptionKeys) -> dict[str, bytes]:
    """Take them out again: content by name. Raises ``SealError``."""
    sealed = _rows(engine)
    files = {name: seal.decrypt(content, _purpose(name)) for name, content in sealed.items()}
    if sealed:
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
