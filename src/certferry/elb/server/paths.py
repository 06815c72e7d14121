"""Paths of the ELB's files. No other module names them."""

from __future__ import annotations

from pathlib import Path

from certferry.elb.server.store.database import StoreUnusable
from certferry.settings import ElbSettings


def prepared(settings: ElbSettings) -> Path:
    """Return the state directory, created (0700) if absent. Raises StoreUnusable."""
    state = settings.state.expanduser().absolute()
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnusable(f"The state directory {state} cannot be made: {error.strerror}.") from None
    return state


def store_file(state: Path) -> Path:
    """Return the path of the SQLite database."""
    return state / "elb.db"


def database(settings: ElbSettings, state: Path) -> Path | str:
    """Return the place of the database: a file, or the URL of a PostgreSQL database."""
    return settings.database or store_file(state)


def encryption_key_file(state: Path) -> Path:
    """Return the path of the key that encrypts the database's secrets."""
    return state / "elb-seal.key"


def lock_file(state: Path) -> Path:
    """Held by the one ELB process of this state."""
    return state / "elb.lock"


def rejections_file(state: Path) -> Path:
    """Return the path of the digests of contents that Envoy rejected."""
    return state / "envoy-rejections.json"
