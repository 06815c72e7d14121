"""The ELBs that run on a shared database, and the encryption keys that each one has.

Each ELB records itself every few seconds. A rotation of the key asks this table before it takes the next step.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import structlog
from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from certferry.elb.server.store import schema
from certferry.runtime.encryption import EncryptionKeys

_log = structlog.get_logger("certferry.elb")
_EVERY: Final = 5.0
"""Seconds between two records of one ELB."""
_LIVING: Final = timedelta(seconds=30)
"""Age of the last record at which an ELB counts as gone."""


class Replica(NamedTuple):
    """An ELB that runs."""

    host: str
    key_id: str
    """The key that encrypts."""
    key_ids: tuple[str, ...]
    """All keys that decrypt."""


async def announce(engine: Engine, encryption: EncryptionKeys) -> None:
    """Record this ELB until cancelled, and then remove it."""
    identifier = str(uuid.uuid4())
    try:
        while True:
            try:
                await asyncio.to_thread(_record, engine, identifier, encryption.ids())
            except SQLAlchemyError as error:
                _log.warning("this ELB is not recorded", reason=str(getattr(error, "orig", error)))
            await asyncio.sleep(_EVERY)
    finally:
        _remove(engine, identifier)


def living(connection: Connection) -> tuple[Replica, ...]:
    """Return the ELBs that run, by host."""
    table = schema.replicas
    rows = connection.execute(
        select(table).where(table.c.seen_at > database_time(connection) - _LIVING).order_by(table.c.host, table.c.id)
    )
    return tuple(Replica(row.host, row.key_id, tuple(row.key_ids)) for row in rows)


def used_keys(connection: Connection) -> frozenset[str]:
    """Return the ids of all keys that have encrypted."""
    return frozenset(connection.execute(select(schema.encryption_keys.c.key_id)).scalars())


def record_keys(connection: Connection, key_ids: Iterable[str]) -> None:
    """Record that these keys encrypt."""
    new = sorted(set(key_ids) - used_keys(connection))
    for key_id in new:
        connection.execute(insert(schema.encryption_keys), {"key_id": key_id, "first_used": database_time(connection)})


def _record(engine: Engine, identifier: str, key_ids: tuple[str, ...]) -> None:
    table = schema.replicas
    with engine.begin() as connection:
        now = database_time(connection)
        values = {"seen_at": now, "key_id": key_ids[0], "key_ids": list(key_ids)}
        connection.execute(delete(table).where(table.c.seen_at < now - 100 * _LIVING))
        if connection.execute(update(table).where(table.c.id == identifier).values(values)).rowcount == 0:
            connection.execute(insert(table), {"id": identifier, "host": socket.gethostname()[:255], **values})


def _remove(engine: Engine, identifier: str) -> None:
    try:
        with engine.begin() as connection:
            connection.execute(delete(schema.replicas).where(schema.replicas.c.id == identifier))
    except SQLAlchemyError:
        _log.debug("the record of this ELB stays until it is old")


def database_time(connection: Connection) -> datetime:
    """Return PostgreSQL's time, so that clocks of machines do not matter."""
    return connection.execute(select(func.timezone("UTC", func.now(), type_=schema.Instant))).scalar_one()
