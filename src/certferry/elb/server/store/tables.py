"""All resources in memory, immutable. Requests read and decide on one snapshot.

Each commit makes a new snapshot by copy-on-write of the changed tables. A row's ``data`` has wire names and
never a private key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from certferry.core.x509.pem import Chain, PrivateKey


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """One content of a certificate: its number, the public chain, the key (none for a CA)."""

    version: int
    chain: Chain
    key: PrivateKey | None
    before: Chain | None = None
    """The chain of the version before, where it is kept."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One resource. ``data`` is never changed in place."""

    kind: str
    id: str
    project_id: str
    data: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    revision: int = 1
    content: Content | None = None
    """Of a certificate alone."""


class Table:
    """The rows of one kind, oldest first, and indexes that are made when first asked for."""

    __slots__ = ("_indexes", "rows")

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self.rows = rows
        self._indexes: dict[str, Mapping[Any, tuple[Row, ...]]] = {}

    def by(self, field: str) -> Mapping[Any, tuple[Row, ...]]:
        """Return the rows by the value of `field`, or by each of its values if it is a list."""
        index = self._indexes.get(field)
        if index is None:
            index = self._indexes[field] = self._grouped(field)
        return index

    def _grouped(self, field: str) -> Mapping[Any, tuple[Row, ...]]:
        groups: dict[Any, list[Row]] = {}
        for row in self.rows.values():
            value = row.data.get(field)
            for one in value if isinstance(value, list | tuple) else (value,):
                groups.setdefault(one, []).append(row)
        return {value: tuple(rows) for value, rows in groups.items()}

    def having(self, row: Row) -> Table:
        """Return a copy of the table with `row` added or replaced."""
        return Table({**self.rows, row.id: row})

    def without(self, identifier: str) -> Table:
        """Return a copy of the table without one row."""
        return Table({key: row for key, row in self.rows.items() if key != identifier})


class StoreSnapshot:
    """Every table by kind."""

    __slots__ = ("_tables",)

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables

    def table(self, kind: str) -> Table:
        """Return the table of one kind."""
        return self._tables[kind]

    def get(self, kind: str, identifier: str | None) -> Row | None:
        """Return the row; None if absent."""
        return self._tables[kind].rows.get(identifier) if identifier else None

    def find(self, kind: str, field: str, value: Any) -> tuple[Row, ...]:
        """Return the rows whose `field` equals or contains `value`, oldest first."""
        return self._tables[kind].by(field).get(value, ())

    def of_project(self, kind: str, project_id: str) -> list[Row]:
        """Return the rows of one project, oldest first."""
        return [row for row in self._tables[kind].rows.values() if row.project_id == project_id]

    def having(self, row: Row) -> StoreSnapshot:
        """Return a copy of the snapshot with `row` added or replaced."""
        return StoreSnapshot({**self._tables, row.kind: self._tables[row.kind].having(row)})

    def without(self, row: Row) -> StoreSnapshot:
        """Return a copy of the snapshot without `row`."""
        return StoreSnapshot({**self._tables, row.kind: self._tables[row.kind].without(row.id)})


def snapshot_of(rows: Iterable[Row], kinds: Iterable[str]) -> StoreSnapshot:
    """Build a snapshot of `rows`, sorted by time of creation and id."""
    tables: dict[str, dict[str, Row]] = {kind: {} for kind in kinds}
    for row in sorted(rows, key=lambda row: (row.created_at, row.id)):
        tables[row.kind][row.id] = row
    return StoreSnapshot({kind: Table(rows) for kind, rows in tables.items()})
