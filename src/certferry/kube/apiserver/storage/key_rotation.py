"""Rotation of the encryption key of the API's store, also while the API runs.

A running API looks at the key file before it encrypts, and each transaction of either process locks the store.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from certferry.kube.apiserver.resources.builtin import KINDS
from certferry.kube.apiserver.storage.log import STORE_FILE, purpose
from certferry.runtime import encryption
from certferry.runtime.encryption import VARIABLE, EncryptionError, EncryptionKeys, key_id_of
from certferry.settings import UserError

_BATCH: Final = 500
"""Rows of one transaction, for which a running API has to wait."""


def store_in(state: Path) -> Path | None:
    """Return the store's folder in a state directory; None if absent."""
    folder = state / "kube"
    return folder if (folder / STORE_FILE).is_file() else None


def rotate(folder: Path, environ: Mapping[str, str] = os.environ) -> int:
    """Encrypt all rows with a new key, remove the old key, and return the number of rows.

    If the key is in the environment, use the first key there. Raises ``UserError``.
    """
    path, key = folder / STORE_FILE, folder / "seal.key"
    try:
        database = sqlite3.connect(path, isolation_level=None, timeout=30)
        try:
            # free pages must not keep the overwritten bytes either
            database.execute("PRAGMA secure_delete = ON")
            if environ.get(VARIABLE):
                return _encrypt_rows(database, EncryptionKeys.open_or_create(key, environ))
            _check_decrypts(database, EncryptionKeys.of_file(key))
            encryption.add_key(key)
            changed = _encrypt_rows(database, EncryptionKeys.of_file(key))
            encryption.keep_first_key(key)
            return changed
        finally:
            database.close()
    except (EncryptionError, sqlite3.Error, OSError) as error:
        raise UserError(f"The secrets of {path} cannot be encrypted with a new key: {error}.") from None


def _check_decrypts(database: sqlite3.Connection, keys: EncryptionKeys) -> None:
    for found in _rows(database, 0, -1):
        keys.decrypt(found[1], found[2])


def _encrypt_rows(database: sqlite3.Connection, keys: EncryptionKeys) -> int:
    changed, last = 0, 0
    while True:
        database.execute("BEGIN IMMEDIATE")
        rows = _rows(database, last, _BATCH)
        for revision, body, bound_to in rows:
            if key_id_of(body) != keys.current:
                fresh = keys.encrypt(keys.decrypt(body, bound_to), bound_to)
                database.execute("UPDATE change SET body = ? WHERE revision = ?", (fresh, revision))
                changed += 1
        database.execute("COMMIT")
        if not rows:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return changed
        last = rows[-1][0]


def _rows(database: sqlite3.Connection, beyond: int, most: int) -> list[tuple[int, bytes, str]]:
    """Return (revision, encrypted body, purpose) of each row."""
    encrypted = [kind.plural for kind in KINDS if kind.encrypted]
    rows = database.execute(
        "SELECT revision, kind, namespace, name, body FROM change"
        " WHERE revision > ? AND kind IN (SELECT value FROM json_each(?)) ORDER BY revision LIMIT ?",
        (beyond, json.dumps(encrypted), most),
    )
    return [(revision, body, purpose(kind, space, name, revision)) for revision, kind, space, name, body in rows]
