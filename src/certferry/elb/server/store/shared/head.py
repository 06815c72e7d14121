"""The order of commits when several processes write one database.

The table ``head`` has one row: the sequence of the last committed change (an audit id) and its instant. A write locks
the row first. So audit ids are in the order of the commits, and a writer sees at once if it is behind.
SQLite has one writer at a time by itself, and needs no row.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Connection, func, select, text, update

from certferry.elb.server.store import schema

CHANNEL: Final = "certferry_store"
"""The channel on which PostgreSQL tells each commit's sequence to the other processes."""


class Head(NamedTuple):
    """The last committed change."""

    sequence: int
    instant: datetime


def is_shared(connection: Connection) -> bool:
    """Return whether other processes may write the database's resources."""
    return connection.dialect.name == "postgresql"


def read(connection: Connection) -> Head:
    """Return the head as this transaction sees it."""
    row = connection.execute(select(schema.head)).one()
    return Head(row.sequence, row.instant)


def lock(connection: Connection) -> Head | None:
    """Lock the head until the transaction ends, and return it; None on a database that needs none."""
    if not is_shared(connection):
        return None
    row = connection.execute(select(schema.head).with_for_update()).one()
    return Head(row.sequence, row.instant)


def advance(connection: Connection, instant: datetime) -> None:
    """Record the newest audit record as the last change, and tell the other processes when the transaction commits."""
    if not is_shared(connection):
        return
    newest = connection.execute(select(func.max(schema.audit.c.id))).scalar() or 0
    connection.execute(update(schema.head).values(sequence=newest, instant=instant))
    connection.execute(text(f"SELECT pg_notify('{CHANNEL}', :sequence)"), {"sequence": str(newest)})
