"""Copies of all rows between databases, in one transaction, compared afterwards."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Engine, Table, delete, func, insert, select, text, update

from certferry.elb.server.store import schema
from certferry.elb.server.store.database import StoreUnusable, appendable, consistent

_BATCH = 500
_OF_PROCESSES = (schema.head, schema.replicas, schema.envoy_answers, schema.failed_logins)
_TABLES = tuple(table for table in schema.metadata.sorted_tables if table not in _OF_PROCESSES)


def migrate(source: Engine, target: Engine, *, replace: bool = False) -> dict[str, int]:
    """Copy all rows of `source` into `target`, and return their number by table.

    With `replace` the rows of `target` are deleted first. Raises StoreUnusable if `target` has rows otherwise, or if it
    holds another content afterwards; nothing is changed then.
    """
    with consistent(source) as old, target.begin() as new:
        if replace:
            with appendable(new):
                for table in reversed(_TABLES):
                    new.execute(delete(table))
        for table in _TABLES:
            if new.execute(select(func.count()).select_from(table)).scalar():
                raise StoreUnusable(f"The database has rows in {table.name} already: name an empty one")
            for rows in _batches(old, table):
                new.execute(insert(table), rows)
        _count_on(new)
        return {table.name: _compared(old, new, table) for table in _TABLES}


def _count_on(connection: Connection) -> None:
    """Continue the sequence of changes after the newest one."""
    newest, instant = connection.execute(select(func.max(schema.audit.c.id), func.max(schema.audit.c.at))).one()
    if connection.dialect.name == "postgresql":
        following = text("SELECT setval(pg_get_serial_sequence('audit', 'id'), :next, false)")
        connection.execute(following, {"next": (newest or 0) + 1})
    values = {"sequence": newest or 0} | ({"instant": instant} if instant else {})
    connection.execute(update(schema.head).values(values))


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
