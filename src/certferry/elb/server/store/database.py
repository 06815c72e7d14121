"""The database: opening, migration and maintenance.

SQLite runs with a write-ahead log, a sync to disk per commit (an answered write survives a power cut), and
overwrites deleted content. Everything specific to SQLite is in this module, what is PostgreSQL's in ``postgresql``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DatabaseError, OperationalError

from certferry.elb.server.store.shared import postgresql
from certferry.runtime import private_files

HEAD: Final = "0009"
"""The newest schema; a test keeps it equal to the newest migration."""

_PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
    "wal_autocheckpoint=0",  # by ``checkpoint``: no request waits for it
)
_APPEND_ONLY: Final = ("audit", "audit_names")
"""Tables whose rows cannot be changed or deleted."""


class StoreUnusable(Exception):
    """The store cannot be opened; the text says why and what to do."""


class SchemaTooNew(StoreUnusable):
    """A newer program has written this store."""


def open_database(place: Path | str) -> Engine:
    """Open the database in the file `place` or at the URL `place`, migrated as needed. Raises StoreUnusable."""
    if isinstance(place, Path) and (trouble := private_files.lost_store(place)):
        raise StoreUnusable(
            f"{trouble}: bring it back with `certferry restore BACKUP`, or give --new to start with an empty one."
        )
    engine = postgresql.engine(place) if isinstance(place, str) else _engine(place)
    shown = engine.url.render_as_string() if isinstance(place, str) else str(place)
    try:
        with postgresql.alone(engine) if isinstance(place, str) else _alone(place):
            _migrate(engine, shown)
    except (OSError, OperationalError, DatabaseError) as error:
        engine.dispose()
        reason = error.orig if isinstance(error, DatabaseError) else error
        damaged = isinstance(error, DatabaseError) and not isinstance(error, OperationalError)
        way_out = " Bring it back with `certferry restore BACKUP`." if damaged and isinstance(place, Path) else ""
        raise StoreUnusable(f"The store {shown} cannot be opened: {reason}.{way_out}") from None
    except StoreUnusable:
        engine.dispose()
        raise
    return engine


def open_as_it_is(place: Path | str) -> Engine:
    """Open the database in a file or at a URL in its present schema, possibly an older program's."""
    return postgresql.engine(place) if isinstance(place, str) else _engine(place)


def has_present_schema(engine: Engine) -> bool:
    """Return whether this program's tables are in the database."""
    with reading(engine).connect() as connection:
        return _schema(connection) == HEAD


def _engine(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        hide_parameters=True,  # an error text would quote rows
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
        connect_args={"timeout": 30},
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def reading(engine: Engine) -> Engine:
    """Return an engine for single reading statements, which never wait for a writer."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def consistent(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that sees one state of the database throughout, and hinders no writer."""
    level = "REPEATABLE READ" if engine.dialect.name == "postgresql" else "AUTOCOMMIT"
    with engine.connect().execution_options(isolation_level=level) as connection, connection.begin():
        yield connection


def checkpoint(engine: Engine) -> None:
    """Carry SQLite's write-ahead log over into the database file, beside readers and writers."""
    if engine.dialect.name != "sqlite":
        return
    with reading(engine).connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")


def forget_log(engine: Engine) -> None:
    """Empty SQLite's write-ahead log into the database file, so that overwritten content is in neither."""
    if engine.dialect.name != "sqlite":
        return
    with reading(engine).connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def copy(engine: Engine, target: Path) -> None:
    """Copy the database as of one instant, compact, into the empty file `target`; writers continue."""
    with reading(engine).connect() as connection:
        connection.exec_driver_sql("VACUUM INTO ?", (str(target),))


def check_whole(engine: Engine, path: Path) -> None:
    """Raise ``StoreUnusable`` where the database is damaged."""
    try:
        with reading(engine).connect() as connection:
            result = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    except DatabaseError as error:
        result = str(error.orig)
    if result != "ok":
        raise StoreUnusable(f"The store {path} is damaged: {result}.")


def companion_files(path: Path) -> tuple[Path, ...]:
    """Return the files that accompany the open database at `path`."""
    return tuple(path.with_name(path.name + end) for end in ("-wal", "-shm"))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Lock the migration: one process at a time. The file is made private before it has content."""
    # Only while it does not exist: closing any descriptor of an open database would drop the locks that
    # SQLite has on it for this process (https://sqlite.org/howtocorrupt.html, 2.2).
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    lock = os.open(path.with_name(path.name + ".migrating"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _configure(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver's guess
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _migrate(engine: Engine, shown: str) -> None:
    with reading(engine).connect() as connection:
        result = _schema(connection)
    if result == HEAD:
        return  # the usual start: Alembic's import alone would take longer than the rest

    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "certferry.elb.server.store:migrations")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if result is not None and result not in known:
        raise SchemaTooNew(
            f"The store {shown} was written by a newer Certferry (schema {result}; this program knows "
            f"{HEAD}). Start the newer program, or restore a backup made with this one."
        )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        _protect(connection)


def _protect(connection: Connection) -> None:
    for table in _APPEND_ONLY:
        if connection.dialect.name == "postgresql":
            postgresql.forbid_changes(connection, table)
            continue
        for verb in ("UPDATE", "DELETE"):
            connection.exec_driver_sql(
                f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )


@contextmanager
def appendable(connection: Connection) -> Iterator[None]:
    """Let the block delete from append-only tables; other connections cannot. Use it within a transaction."""
    if connection.dialect.name == "postgresql":
        postgresql.allow_deletion(connection)
        yield
        return
    for table in _APPEND_ONLY:
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {table}_no_delete")
    yield
    _protect(connection)


def prunes_alone(connection: Connection) -> bool:
    """Return whether this transaction is the only one that prunes, until it ends."""
    return connection.dialect.name != "postgresql" or postgresql.prunes_alone(connection)


def _schema(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
