"""Another sealing key for the store of the Kubernetes API.

``certferry rotate-seal-key`` calls it, also beside a running API: that one looks at the key file
before it seals, and each transaction of either locks the store.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from certferry.kube.apiserver.resources.builtin import KINDS
from certferry.kube.apiserver.storage.log import purpose
from certferry.runtime import encryption as seals
from certferry.runtime.encryption import VARIABLE, EncryptionError, EncryptionKeys, key_id_of
from certferry.settings import UserError

_BATCH: Final = 500
"""Rows of one transaction: a running API waits for it."""


def store_in(state: Path) -> Path | None:
    """The folder of the API's store in this state directory, if there is one."""
    folder = state / "kube"
    return folder if (folder / "store.db").is_file() else None


def rotate(folder: Path, environ: Mapping[str, str] = os.environ) -> int:
    """Seals everything under a new key, and forgets the old one; how many rows were sealed anew.

    With the key in the environment: under the first of the keys there. Raises ``Refused``.
    """
    path, key = folder / "store.db", folder / "seal.key"
    try:
        database = sqlite3.connect(path, isolation_level=None, timeout=30)
        try:
            # what is overwritten shall be in no free page either
            database.execute("PRAGMA secure_delete = ON")
            if environ.get(VARIABLE):
                return _encrypt_rows(database, EncryptionKeys.open_or_create(key, environ))
            _check_opens(database, EncryptionKeys.of_file(key))
            seals.add_key(key)
            changed = _encrypt_rows(database, EncryptionKeys.of_file(key))
            seals.keep_first_key(key)
            return changed
        finally:
            database.close()
    except (EncryptionError, sqlite3.Error, OSError) as error:
        raise UserError(f"The secrets of {path} cannot be sealed anew: {error}.") from None


def _check_opens(database: sqlite3.Connection, seal: EncryptionKeys) -> None:
    for found in _rows(database, 0, -1):
        seal.decrypt(found[1], found[2])


def _encrypt_rows(database: sqlite3.Connection, seal: EncryptionKeys) -> int:
    changed, last = 0, 0
    while True:
        database.execute("BEGIN IMMEDIATE")
        rows = _rows(database, last, _BATCH)
        for revision, body, bound_to in rows:
            if key_id_of(body) != seal.current:
                fresh = seal.encrypt(seal.decrypt(body, bound_to), bound_to)
                database.execute("UPDATE change SET body = ? WHERE revision = ?", (fresh, revision))
                changed += 1
        database.execute("COMMIT")
        if not rows:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return changed
        last = rows[-1][0]


def _rows(database: sqlite3.Connection, beyond: int, most: int) -> list[tuple[int, bytes, str]]:
    """Revision, sealed body and what it is bound to."""
    sealed = [kind.plural for kind in KINDS if kind.encrypted]
    rows = database.execute(
        "SELECT revision, kind, namespace, name, body FROM change"
        " WHERE revision > ? AND kind IN (SELECT value FROM json_each(?)) ORDER BY revision LIMIT ?",
        (beyond, json.dumps(sealed), most),
    )
    return [
        (revision, body, purpose(kind, space, name, revision)) for revision, kind, space, name, body in rows
    ]
