"""Rotation of the encryption key of a store, also while ELBs run.

On one machine it is one step. ELBs that share a database each have a copy of the key file, so that there are three:
every file gets the new key, then the new key encrypts, then the old key goes. Each step looks at what the ELBs have.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from sqlalchemy import Engine

from certferry.core.plural import counted
from certferry.elb.server.keys import encryption_keys, in_file, key_file
from certferry.elb.server.offline import existing, refusals
from certferry.elb.server.store import key_rotation
from certferry.elb.server.store.shared import replicas
from certferry.elb.server.store.shared.replicas import Replica
from certferry.runtime.encryption import EncryptionKeys, add_key, add_last_key, keep_first_key, move_last_key_first
from certferry.settings import ElbSettings, UserError

_COPY = "Copy it to every other ELB, then run this command again"


def rotate_encryption_key(settings: ElbSettings, environ: Mapping[str, str] = os.environ) -> str:
    """Take the next step of a rotation and return what was done. Raises ``UserError``.

    A key that is not in a file is changed where it is kept: then the first one encrypts everything again.
    """
    path = key_file(settings)
    with refusals(), existing(settings) as engine:
        encryption = encryption_keys(settings, environ)
        if not in_file(settings, environ):
            if settings.database:
                _check(engine, encryption.current, "lack the new key", "Give it to them, and run this command again")
            return _encrypted(key_rotation.encrypt_again(engine, encryption))
        key_rotation.check_decrypts(engine, encryption)  # before any change
        if settings.database:
            return _step(settings, engine, encryption)
        add_key(path)
        changed = key_rotation.encrypt_again(engine, EncryptionKeys.of_file(path))
        keep_first_key(path)
        return _encrypted(changed)


def _step(settings: ElbSettings, engine: Engine, encryption: EncryptionKeys) -> str:
    path, (first, *others) = key_file(settings), encryption.ids()
    with engine.begin() as connection:
        replicas.record_keys(connection, key_rotation.keys_needed(engine) | {first})
        used = replicas.used_keys(connection)
    if not others:
        add_last_key(path)
        return f"Added a new key to {path}. It encrypts nothing yet. {_COPY}."
    new = others[-1]
    if new not in used:
        _check(engine, new, "lack the new key", f"Copy {path} to them, and run this command again")
        move_last_key_first(path)
        with engine.begin() as connection:
            replicas.record_keys(connection, [new])
        changed = key_rotation.encrypt_again(engine, EncryptionKeys.of_file(path))
        return f"{_encrypted(changed)} The old key stays in {path} until all use the new one. {_COPY}."
    late = [r for r in _living(engine) if r.key_id != first]
    _refuse(late, "encrypt with the old key", f"Copy {path} to them, and run this command again")
    changed = key_rotation.encrypt_again(engine, encryption)
    keep_first_key(path)
    return f"{_encrypted(changed)} The old key is removed from {path}. Copy it to every other ELB."


def _check(engine: Engine, key_id: str, what: str, advice: str) -> None:
    _refuse([r for r in _living(engine) if key_id not in r.key_ids], what, advice)


def _living(engine: Engine) -> tuple[Replica, ...]:
    with engine.connect() as connection:
        return replicas.living(connection)


def _refuse(those: Iterable[Replica], what: str, advice: str) -> None:
    if hosts := sorted({r.host for r in those}):
        raise UserError(f"ELBs that run on {', '.join(hosts)} {what}. {advice}.")


def _encrypted(changed: int) -> str:
    return f"Encrypted {counted(changed, 'secret')} under a new key. Older backups need the older key."
