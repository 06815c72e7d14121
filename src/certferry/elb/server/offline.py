"""Access of a command to the store of an ELB, which may run or not. Each error is a ``UserError`` with the next action."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from certferry.elb.server.paths import lock_file, store_file
from certferry.elb.server.store.database import StoreUnusable, has_present_schema, open_as_it_is
from certferry.elb.server.store.shared import postgresql
from certferry.runtime.encryption import EncryptionError
from certferry.settings import ElbSettings, UserError


def state_of(settings: ElbSettings) -> Path:
    """Return the absolute path of the state directory."""
    return settings.state.expanduser().absolute()


@contextmanager
def refusals() -> Iterator[None]:
    """Raise what goes wrong in the block as ``UserError``."""
    try:
        yield
    except (StoreUnusable, EncryptionError) as reason:
        raise UserError(str(reason)) from None
    except SQLAlchemyError as error:
        raise UserError(f"The store cannot be read or written: {getattr(error, 'orig', error)}.", code=1) from None
    except OSError as error:
        raise UserError(f"{error.filename or 'A file'} cannot be read or written: {error.strerror}.", code=1) from None


@contextmanager
def opened(place: Path | str, how: Callable[[Path | str], Engine] = open_as_it_is) -> Iterator[Engine]:
    """Open a database in a file or at a URL within the block."""
    engine = how(place)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def existing(settings: ElbSettings) -> Iterator[Engine]:
    """Open the store of these settings as it is. Raises ``UserError``, StoreUnusable."""
    if not settings.database and not store_file(state_of(settings)).is_file():
        raise UserError(f"There is no ELB's store in {state_of(settings)}: name its --state.")
    with opened(settings.database or store_file(state_of(settings))) as engine:
        if settings.database and not has_present_schema(engine):
            raise StoreUnusable("The database has the tables of another Certferry: start the ELB of this version once")
        yield engine


@contextmanager
def exclusive_lock(state: Path) -> Iterator[None]:
    """Keep an ELB from running on `state` within the block. Raises ``UserError`` if one runs."""
    descriptor = os.open(lock_file(state), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"The ELB runs on {state}: end it first.") from None
    finally:
        os.close(descriptor)


@contextmanager
def no_replicas(engine: Engine) -> Iterator[None]:
    """Keep every ELB from running on a PostgreSQL database within the block. Raises ``UserError`` if one runs."""
    with postgresql.without_replicas(engine) as alone:
        if not alone:
            raise UserError("An ELB runs on the database: end every one first.")
        yield
