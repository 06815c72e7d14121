"""Files with mode 0600 that are replaced atomically and durably.

A reader, also one after a power cut, sees the old content or the new one and never a part of either.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_MARK: Final = "The store beside this file was created: if it is missing, it was lost.\n"


def write(path: Path, content: str | bytes) -> None:
    """Replace the content of `path`. Raises OSError."""
    scratch = draft(path, content)
    try:
        replace(scratch, path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise


def create(path: Path, content: str | bytes) -> None:
    """Write `path` unless it exists: of several processes, the first one wins. Raises OSError."""
    if path.exists():
        return
    scratch = draft(path, content)
    try:
        _sync(scratch)
        os.link(scratch, path)
    except FileExistsError:
        pass
    finally:
        scratch.unlink()
    _sync(path.parent)


def draft(path: Path, content: str | bytes = b"") -> Path:
    """Write `content` to a new hidden file beside `path` and return its path. Raises OSError."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except OSError:
        scratch.unlink()
        raise
    return scratch


def replace(scratch: Path, path: Path) -> None:
    """Move `scratch` to `path` after its content is on the disk. Raises OSError."""
    _sync(scratch)
    scratch.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Marks that a store exists, in NAME.created: without them a lost store would be taken for a first start.


def lost_store(store: Path) -> str:
    """Return what is wrong if `store` existed once and is missing or empty, else ""."""
    if not _mark(store).exists():
        return ""
    if not store.exists():
        return f"The store {store} is missing, and there was one"
    return "" if store.stat().st_size else f"The store {store} is empty, and there was one"


def mark_store(store: Path) -> None:
    """Record that `store` exists. Raises OSError."""
    create(_mark(store), _MARK)


def forget_store(store: Path) -> None:
    """Allow a new store if `store` is lost."""
    if lost_store(store):
        _mark(store).unlink()


def _mark(store: Path) -> Path:
    return store.with_name(store.name + ".created")
