"""PostgreSQL: engine, migration lock, append-only tables and follower of commits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from certferry.elb.server.store.shared.head import CHANNEL
from certferry.runtime.backoff import Backoff

_log = structlog.get_logger("certferry.elb")
_MIGRATION_LOCK: Final = 0x63657274
"""The advisory lock that a migration holds."""
_PRUNE_LOCK: Final = 0x6365727470
"""The advisory lock of the process that prunes the audit log."""
_RUNNING_LOCK: Final = 0x63657275
"""The advisory lock that each running ELB shares, and a restore holds alone."""
ORDER_LOCK: Final = 0x6365727471
"""The advisory lock of the process that works on orders."""
_EVERY: Final = 5.0
"""Seconds after which the follower looks at the head without a notification."""
_FIRST, _LONGEST = 0.2, 5.0
"""Seconds between two attempts to connect."""


def engine(url: str) -> Engine:
    """Return an engine for `url` (``postgresql://…``). It holds connections that are checked before use."""
    return create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        hide_parameters=True,  # an error text would quote rows
        pool_pre_ping=True,
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
        connect_args={"connect_timeout": 5, "application_name": "certferry-elb"},
    )


@contextmanager
def alone(engine: Engine) -> Iterator[None]:
    """Lock the migration: one process at a time."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        yield


@contextmanager
def without_replicas(engine: Engine) -> Iterator[bool]:
    """Lock out ELBs within the block; yields False if one runs."""
    with engine.connect() as connection:
        yield bool(connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _RUNNING_LOCK}).scalar())


def forbid_changes(connection: Connection, table: str) -> None:
    """Let nothing update or delete rows of `table` or empty it."""
    connection.execute(
        text(
            "CREATE OR REPLACE FUNCTION certferry_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN IF TG_OP = 'DELETE' AND current_setting('certferry.pruning', true) = 'on' THEN RETURN NULL; "
            "END IF; RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
        )
    )
    connection.execute(text(f"DROP TRIGGER IF EXISTS {table}_append_only ON {table}"))
    connection.execute(
        text(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION certferry_append_only()"
        )
    )


def allow_deletion(connection: Connection) -> None:
    """Let this transaction delete from append-only tables."""
    connection.execute(text("SET LOCAL certferry.pruning = 'on'"))


def prunes_alone(connection: Connection) -> bool:
    """Take the lock on pruning until the transaction ends; return False if another process has it."""
    return bool(connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _PRUNE_LOCK}).scalar())


async def follow(url: str, catch_up: Callable[[], None]) -> None:
    """Call `catch_up` in a thread after each commit of another process, until cancelled.

    It is also called after each connection and every five seconds, because a notification can be lost.
    """
    import psycopg

    backoff = Backoff(_FIRST, _LONGEST)
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(_plain(url), autocommit=True) as connection:
                await connection.execute(f"SELECT pg_advisory_lock_shared({_RUNNING_LOCK})")
                await connection.execute(f"LISTEN {CHANNEL}")
                await asyncio.to_thread(catch_up)
                backoff.reset()
                await _listen(connection, catch_up)
        except (psycopg.Error, SQLAlchemyError, OSError) as error:
            _log.warning("not connected to the database", reason=str(getattr(error, "orig", None) or error).strip())
        except Exception:  # noqa: BLE001 (a follower that ended would leave this ELB behind without a word)
            _log.exception("commits of other processes not taken over")
        await backoff.wait()


async def leading(url: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` while this process alone holds the lock on orders, until cancelled. It ends with the connection."""
    import psycopg

    while True:
        try:
            async with await psycopg.AsyncConnection.connect(_plain(url), autocommit=True) as connection:
                await _lead(connection, work)
        except (psycopg.Error, OSError) as error:
            _log.warning("orders wait for the database", reason=str(error).strip())
        await asyncio.sleep(_EVERY)


async def _lead(connection: Any, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def asked(query: str, *values: object) -> Any:
        return await (await connection.execute(query, values)).fetchone()

    if not (await asked("SELECT pg_try_advisory_lock(%s)", ORDER_LOCK))[0]:
        return
    task = asyncio.create_task(work())
    try:
        while not task.done():
            await asked("SELECT 1")
            await asyncio.wait([task], timeout=_EVERY)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _listen(connection: Any, catch_up: Callable[[], None]) -> None:
    while True:
        async for _ in connection.notifies(timeout=_EVERY, stop_after=1):
            pass
        await asyncio.to_thread(catch_up)


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
