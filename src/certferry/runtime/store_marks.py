"""Marks that a store exists: without them a lost store would be taken for a first start, and an empty one served.

The mark of ``NAME`` is the file ``NAME.created`` beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from certferry.runtime import private_files

_TEXT: Final = "The store beside this file was created: if it is missing, it was lost.\n"


def lost(store: Path) -> str:
    """Return what is wrong if `store` existed once and is missing or empty, else ""."""
    if not _mark(store).exists():
        return ""
    if not store.exists():
        return f"The store {store} is missing, and there was one"
    return "" if store.stat().st_size else f"The store {store} is empty, and there was one"


def mark(store: Path) -> None:
    """Record that `store` exists. Raises OSError."""
    private_files.create(_mark(store), _TEXT)


def forget(store: Path) -> None:
    """Allow a new store if `store` is lost."""
    if lost(store):
        _mark(store).unlink()


def _mark(store: Path) -> Path:
    return store.with_name(store.name + ".created")
