"""Where the ELB keeps its files. Nothing else names them."""

from __future__ import annotations

from pathlib import Path

from certferry.elb.server.store.database import StoreUnusable
from certferry.settings import ElbSettings


def prepared(settings: ElbSettings) -> Path:
    """The state directory, made (0700) if there is none. Raises ``StoreUnusable``."""
    state = settings.state.expanduser().absolute()
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnusable(f"The state directory {state} cannot be made: {error.strerror}.") from None
    return state


def store_file(state: Path) -> Path:
    """The database."""
    return state / "elb.db"


def sealing_key(state: Path) -> Path:
    """The key under which the database's secrets are sealed."""
    return state / "elb-seal.key"


def lock_file(state: Path) -> Path:
    """Held by the one ELB process of this state."""
    return state / "elb.lock"


def envoys_file(state: Path) -> Path:
    """Which Envoys of other machines are let in."""
    return state / "envoys.json"


def envoys_authority(state: Path) -> tuple[Path, Path]:
    """The certificate and the key of the authority that vouches for them."""
    return state / "envoys-ca.crt", state / "envoys-ca.key"
