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
from sqlalchemy import ColumnElement, Connection, Engine, delete, func, insert, select, update
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


class ReplicaRecord:
    """The record of this ELB. `envoys` are the names of the Envoys that are connected to it."""

    def __init__(self, engine: Engine, encryption: EncryptionKeys) -> None:
        self.id = str(uuid.uuid4())
        self.engine = engine
        self.envoys: tuple[str, ...] = ()
        self._encryption = encryption

    async def run(self) -> None:
        """Write the record every few seconds until cancelled, and then remove it."""
        try:
            while True:
                try:
                    await asyncio.to_thread(self.write)
                except SQLAlchemyError as error:
                    _log.warning("this ELB is not recorded", reason=str(getattr(error, "orig", error)))
                await asyncio.sleep(_EVERY)
        finally:
            self._remove()

    def write(self) -> None:
        """Write the record. Raises SQLAlchemyError."""
        table, answers, key_ids = schema.replicas, schema.envoy_answers, self._encryption.ids()
        with self.engine.begin() as connection:
            now = database_time(connection)
            values = {"seen_at": now, "key_id": key_ids[0], "key_ids": list(key_ids), "envoys": list(self.envoys)}
            if connection.execute(update(table).where(table.c.id == self.id).values(values)).rowcount == 0:
                host = socket.gethostname()[:255]
                connection.execute(insert(table), {"id": self.id, "host": host, **values})
            connection.execute(delete(table).where(table.c.seen_at < now - 10 * _LIVING))
            connection.execute(delete(answers).where(answers.c.replica.not_in(select(table.c.id))))

    def _remove(self) -> None:
        try:
            with self.engine.begin() as connection:
                connection.execute(delete(schema.envoy_answers).where(schema.envoy_answers.c.replica == self.id))
                connection.execute(delete(schema.replicas).where(schema.replicas.c.id == self.id))
        except SQLAlchemyError:
            _log.debug("the record of this ELB stays until it is old")


def living(connection: Connection) -> tuple[Replica, ...]:
    """Return the ELBs that run, by host."""
    table = schema.replicas
    rows = connection.execute(select(table).where(is_living(connection)).order_by(table.c.host, table.c.id))
    return tuple(Replica(row.host, row.key_id, tuple(row.key_ids)) for row in rows)


def used_keys(connection: Connection) -> frozenset[str]:
    """Return the ids of all keys that have encrypted."""
    return frozenset(connection.execute(select(schema.encryption_keys.c.key_id)).scalars())


def record_keys(connection: Connection, key_ids: Iterable[str]) -> None:
    """Record that these keys encrypt."""
    new = sorted(set(key_ids) - used_keys(connection))
    for key_id in new:
        connection.execute(insert(schema.encryption_keys), {"key_id": key_id, "first_used": database_time(connection)})


def is_living(connection: Connection) -> ColumnElement[bool]:
    """Return the condition on rows of ``replicas`` that the ELB runs."""
    return schema.replicas.c.seen_at > database_time(connection) - _LIVING


def database_time(connection: Connection) -> datetime:
    """Return PostgreSQL's time, so that clocks of machines do not matter."""
    return connection.execute(select(func.timezone("UTC", func.now(), type_=schema.Instant))).scalar_one()
