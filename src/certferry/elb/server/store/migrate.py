"""The move of a store from SQLite to PostgreSQL: every row is copied in one transaction, and then compared."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Engine, Table, func, insert, select, text, update

from certferry.elb.server.store import schema
from certferry.elb.server.store.database import StoreUnusable, reading

_BATCH = 500
_TABLES = tuple(table for table in schema.metadata.sorted_tables if table is not schema.head)


def migrate(source: Engine, target: Engine) -> dict[str, int]:
    """Copy all rows of `source` into the empty `target`, and return their number by table.

    Raises StoreUnusable if `target` has rows, or holds another content afterwards; nothing is copied then.
    """
    with reading(source).connect() as old, target.begin() as new:
        for table in _TABLES:
            if new.execute(select(func.count()).select_from(table)).scalar():
                raise StoreUnusable(f"The database has rows in {table.name} already: name an empty one")
            for rows in _batches(old, table):
                new.execute(insert(table), rows)
        newest = new.execute(select(func.max(schema.audit.c.id))).scalar() or 0
        if newest:
            new.execute(text("SELECT setval(pg_get_serial_sequence('audit', 'id'), :newest)"), {"newest": newest})
        head = old.execute(select(func.max(schema.audit.c.at))).scalar()
        new.execute(update(schema.head).values(sequence=newest, **({"instant": head} if head else {})))
        return {table.name: _compared(old, new, table) for table in _TABLES}


def _compared(old: Connection, new: Connection, table: Table) -> int:
    number = 0
    for before, after in zip(_batches(old, table), _batches(new, table), strict=True):
        if before != after:
            raise StoreUnusable(f"The copy of {table.name} differs from the original: nothing was moved")
        number += len(before)
    return number


def _batches(connection: Connection, table: Table) -> Iterator[list[dict[str, object]]]:
    """Yield the rows of a table in the order of its key."""
    rows = connection.execute(select(table).order_by(*table.primary_key.columns)).mappings()
    while batch := [dict(row) for row in rows.fetchmany(_BATCH)]:
        yield batch
