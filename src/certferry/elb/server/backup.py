"""Backup, restore and key rotation of an ELB's store.

A backup holds encrypted secrets and never the key: each is worthless without the other, so they are written to
different places. Each function raises ``UserError`` with the next action.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
from sqlalchemy import Engine, delete, func, select
from sqlalchemy.exc import SQLAlchemyError

from certferry.elb.server.paths import encryption_key_file, envoys_authority, envoys_file, lock_file, store_file
from certferry.elb.server.store import backup_files, key_rotation, schema
from certferry.elb.server.store.database import (
    StoreUnusable,
    check_whole,
    companion_files,
    copy,
    forget_log,
    open_as_it_is,
    open_database,
    reading,
)
from certferry.elb.server.store.migrate import migrate
from certferry.runtime import private_files
from certferry.runtime.encryption import VARIABLE, EncryptionError, EncryptionKeys, add_key, copy_keys, keep_first_key
from certferry.settings import UserError


class StoreSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a store or a backup."""

    certificates: int
    secrets: int
    """Encrypted values. All of them were decrypted as a check."""
    keys: frozenset[str]
    """Ids of the encryption keys that decrypt them."""


def backup(state: Path, out: Path, key_out: Path | None, environ: Mapping[str, str] = os.environ) -> StoreSummary:
    """Back up the store of `state` to the new file `out`, and its key to `key_out`, if given. The ELB may run."""
    path = _existing(state)
    for target in filter(None, (out, key_out)):
        if target.exists():
            raise UserError(f"{target} exists: a backup replaces nothing, choose another name.")
    if key_out is not None and key_out.absolute().parent == out.absolute().parent:
        raise UserError("Put the key into another directory than the backup: who has both has every private key.")
    with _refusals(), _opened(path) as engine:
        encryption = _encryption_keys(state, environ)
        draft = private_files.draft(out)
        try:
            copy(engine, draft)
            with _opened(draft) as saved:
                backup_files.add_files(saved, encryption, {path.name: path for path in _credential_files(state)})
                forget_log(saved)
                kept = _kept(saved, encryption, draft)
            private_files.replace(draft, out)
        finally:
            for left in (draft, *companion_files(draft), draft.with_name(draft.name + ".migrating")):
                left.unlink(missing_ok=True)
        if key_out is not None:
            _save_key(state, key_out, environ)
    return kept


def restore(saved: Path, state: Path, key: Path | None, environ: Mapping[str, str] = os.environ) -> StoreSummary:
    """Replace the store of `state` by the backup `saved`, and its key by `key`, if given.

    The old files stay beside them as ``….before-restore``. Nothing changes unless every secret decrypts.
    """
    if not saved.is_file():
        raise UserError(f"There is no backup {saved}.")
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _refusals(), exclusive_lock(state):
        path, key_path = store_file(state), encryption_key_file(state)
        encryption = EncryptionKeys.of_file(key) if key is not None else _encryption_keys(state, environ)
        draft = path.with_name(f".{path.name}.restored")
        try:
            shutil.copyfile(saved, draft)
            draft.chmod(0o600)
            with _opened(draft, open_database) as engine:
                kept = _kept(engine, encryption, saved)
                files = backup_files.extract_files(engine, encryption)
                with engine.begin() as connection:
                    # logins of that time may have been revoked since
                    connection.execute(delete(schema.tokens))
                forget_log(engine)
            if path.exists():
                _set_aside(path)
            if key is not None:
                if key_path.exists():
                    key_path.replace(_before(key_path))
                copy_keys(key, key_path)
            for credential in _credential_files(state):
                if credential.exists():
                    credential.replace(_before(credential))
                if credential.name in files:
                    private_files.write(credential, files[credential.name])
            private_files.replace(draft, path)
        finally:
            for left in (draft, *companion_files(draft), draft.with_name(draft.name + ".migrating")):
                left.unlink(missing_ok=True)
    return kept


def migrate_store(state: Path, url: str) -> dict[str, int]:
    """Copy the store of `state` to the empty PostgreSQL database at `url`; return the rows by table.

    The ELB must not run. The file of the store stays.
    """
    path = _existing(state)
    with _refusals(), exclusive_lock(state), _opened(path, open_database) as source:
        target = open_database(url)
        try:
            return migrate(source, target)
        finally:
            target.dispose()


def rotate_encryption_key(state: Path, environ: Mapping[str, str] = os.environ) -> int:
    """Encrypt every secret with a new key, remove the old key, and return the number of secrets. The ELB may run.

    If the key is in the environment, use the first key there.
    """
    path, key_path = _existing(state), encryption_key_file(state)
    with _refusals(), _opened(path) as engine:
        if environ.get(VARIABLE):
            return key_rotation.encrypt_again(engine, EncryptionKeys.open_or_create(key_path, environ))
        key_rotation.check_decrypts(engine, _encryption_keys(state, environ))  # before any change
        add_key(key_path)
        changed = key_rotation.encrypt_again(engine, EncryptionKeys.of_file(key_path))
        keep_first_key(key_path)
        return changed


@contextmanager
def exclusive_lock(state: Path) -> Iterator[None]:
    """Keep an ELB from running on `state` within the block. Raises ``UserError`` if one runs."""
    descriptor = os.open(lock_file(state), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"The ELB runs on {state}: end it first, then restore.") from None
    finally:
        os.close(descriptor)


def _existing(state: Path) -> Path:
    path = store_file(state)
    if not path.is_file():
        raise UserError(f"There is no ELB's store in {state}: name its --state.")
    return path


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (StoreUnusable, EncryptionError) as reason:
        raise UserError(str(reason)) from None
    except SQLAlchemyError as error:
        raise UserError(f"The store cannot be read or written: {getattr(error, 'orig', error)}.", code=1) from None
    except OSError as error:
        raise UserError(f"{error.filename or 'A file'} cannot be read or written: {error.strerror}.", code=1) from None


@contextmanager
def _opened(path: Path, how: Callable[[Path], Engine] = open_as_it_is) -> Iterator[Engine]:
    engine = how(path)
    try:
        yield engine
    finally:
        engine.dispose()


def _encryption_keys(state: Path, environ: Mapping[str, str]) -> EncryptionKeys:
    """Load the present encryption key; unlike the ELB's start this creates none."""
    if not environ.get(VARIABLE) and not encryption_key_file(state).exists():
        raise EncryptionError(
            f"There is no encryption key: neither the file {encryption_key_file(state)} nor {VARIABLE}. Give the key that "
            "belongs to this store."
        )
    return EncryptionKeys.open_or_create(encryption_key_file(state), environ)


def _kept(engine: Engine, encryption: EncryptionKeys, path: Path) -> StoreSummary:
    check_whole(engine, path)
    with reading(engine).connect() as connection:
        certificates = connection.execute(select(func.count()).select_from(schema.certificates)).scalar()
    return StoreSummary(
        certificates=int(certificates or 0),
        secrets=key_rotation.check_decrypts(engine, encryption),
        keys=key_rotation.keys_needed(engine) | backup_files.keys_needed(engine),
    )


def _save_key(state: Path, key_out: Path, environ: Mapping[str, str]) -> None:
    if environ.get(VARIABLE):
        raise UserError(f"The key is in {VARIABLE}, not in a file: keep a copy of that one.")
    copy_keys(encryption_key_file(state), key_out)


def _set_aside(path: Path) -> None:
    with _opened(path) as engine:
        forget_log(engine)
    path.replace(_before(path))
    for left in companion_files(path):
        left.unlink(missing_ok=True)


def _credential_files(state: Path) -> tuple[Path, ...]:
    """Return the files that a backup also holds."""
    return envoys_file(state), *envoys_authority(state)


def _before(path: Path) -> Path:
    return path.with_name(path.name + ".before-restore")
