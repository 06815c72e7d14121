"""Backup and restore of an ELB's store, and its move to PostgreSQL.

A backup is an SQLite file, whatever the database. It holds encrypted secrets and never the key: each is worthless
without the other, so they are written to different places. Each function raises ``UserError`` with the next action.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
from sqlalchemy import Engine, delete, func, select

from certferry.elb.server.dataplane.remote import old_files
from certferry.elb.server.keys import encryption_keys, in_file, key_file
from certferry.elb.server.offline import exclusive_lock, existing, no_replicas, opened, refusals, state_of
from certferry.elb.server.paths import store_file
from certferry.elb.server.store import attached_files, key_rotation, schema
from certferry.elb.server.store.database import check_whole, companion_files, copy, forget_log, open_database, reading
from certferry.elb.server.store.migrate import migrate
from certferry.runtime import private_files
from certferry.runtime.encryption import EncryptionKeys, copy_keys
from certferry.settings import ElbSettings, UserError


class StoreSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a store or a backup."""

    certificates: int
    secrets: int
    """Encrypted values. All of them were decrypted as a check."""
    keys: frozenset[str]
    """Ids of the encryption keys that decrypt them."""


def backup(
    settings: ElbSettings, out: Path, key_out: Path | None, environ: Mapping[str, str] = os.environ
) -> StoreSummary:
    """Back up the store to the new file `out`, and its key to `key_out`, if given. The ELB may run."""
    for target in filter(None, (out, key_out)):
        if target.exists():
            raise UserError(f"{target} exists: a backup replaces nothing, choose another name.")
    if key_out is not None and key_out.absolute().parent == out.absolute().parent:
        raise UserError("Put the key into another directory than the backup: who has both has every private key.")
    with refusals(), existing(settings) as engine:
        encryption = encryption_keys(settings, environ)
        draft = private_files.draft(out)
        try:
            _copy(engine, draft)
            with opened(draft) as saved:
                forget_log(saved)
                kept = _kept(saved, encryption, draft)
            private_files.replace(draft, out)
        finally:
            _remove(draft)
        if key_out is not None:
            _save_key(settings, key_out, environ)
    return kept


def restore(
    settings: ElbSettings, saved: Path, key: Path | None, environ: Mapping[str, str] = os.environ
) -> StoreSummary:
    """Replace the store by the backup `saved`, and its key by `key`, if given.

    The old content stays in the state directory as ``….before-restore``. Nothing changes unless every secret decrypts.
    """
    state = state_of(settings)
    if not saved.is_file():
        raise UserError(f"There is no backup {saved}.")
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with refusals(), exclusive_lock(state):
        path = store_file(state)
        encryption = EncryptionKeys.of_file(key) if key is not None else encryption_keys(settings, environ)
        draft = path.with_name(f".{path.name}.restored")
        try:
            shutil.copyfile(saved, draft)
            draft.chmod(0o600)
            with opened(draft, open_database) as engine:
                kept = _kept(engine, encryption, saved)
                old_files.take_over(engine, encryption, attached_files.extract(engine, encryption))
                with engine.begin() as connection:
                    # logins of that time may have been revoked since
                    connection.execute(delete(schema.tokens))
                forget_log(engine)
                if settings.database:
                    _replace_rows(settings.database, engine, _before(path))
            if not settings.database:
                if path.exists():
                    _set_aside(path)
                private_files.replace(draft, path)
            if key is not None:
                _replace_key(key, key_file(settings))
        finally:
            _remove(draft)
    return kept


def migrate_store(settings: ElbSettings, url: str) -> dict[str, int]:
    """Copy the SQLite store to the empty PostgreSQL database at `url`; return the rows by table.

    The ELB must not run. The file of the store stays.
    """
    state = state_of(settings)
    if not store_file(state).is_file():
        raise UserError(f"There is no ELB's store in {state}: name its --state.")
    with (
        refusals(),
        exclusive_lock(state),
        opened(store_file(state), open_database) as source,
        opened(url, open_database) as target,
        no_replicas(target),
    ):
        return migrate(source, target)


def _copy(engine: Engine, draft: Path) -> None:
    """Copy the database as of one instant into the empty file `draft`; writers continue."""
    if engine.dialect.name == "sqlite":
        copy(engine, draft)
        return
    with opened(draft, open_database) as target:
        migrate(engine, target)


def _replace_rows(url: str, source: Engine, before: Path) -> None:
    """Replace all rows of the PostgreSQL database at `url` by those of `source`; keep the old ones in a new `before`."""
    with opened(url, open_database) as target, no_replicas(target):
        draft = private_files.draft(before)
        try:
            _copy(target, draft)
            with opened(draft) as kept:
                forget_log(kept)
            private_files.replace(draft, before)
        finally:
            _remove(draft)
        migrate(source, target, replace=True)


def _replace_key(key: Path, path: Path) -> None:
    if path.exists():
        path.replace(_before(path))
    copy_keys(key, path)


def _remove(draft: Path) -> None:
    for left in (draft, *companion_files(draft), draft.with_name(draft.name + ".migrating")):
        left.unlink(missing_ok=True)


def _kept(engine: Engine, encryption: EncryptionKeys, path: Path) -> StoreSummary:
    check_whole(engine, path)
    with reading(engine).connect() as connection:
        certificates = connection.execute(select(func.count()).select_from(schema.certificates)).scalar()
    return StoreSummary(
        certificates=int(certificates or 0),
        secrets=key_rotation.check_decrypts(engine, encryption),
        keys=key_rotation.keys_needed(engine) | attached_files.keys_needed(engine),
    )


def _save_key(settings: ElbSettings, key_out: Path, environ: Mapping[str, str]) -> None:
    if not in_file(settings, environ):
        raise UserError("The key is in the environment or a command, not in a file: keep a copy of that one.")
    copy_keys(key_file(settings), key_out)


def _set_aside(path: Path) -> None:
    with opened(path) as engine:
        forget_log(engine)
    path.replace(_before(path))
    for left in companion_files(path):
        left.unlink(missing_ok=True)


def _before(path: Path) -> Path:
    return path.with_name(path.name + ".before-restore")
