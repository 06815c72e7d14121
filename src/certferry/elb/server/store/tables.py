"""All resources in memory, immutable. Requests read and decide on one snapshot.

Each commit makes a new snapshot that shares everything except the changed rows: tables and their indexes are
persistent maps, so a write costs the same in a table of any size. A row's ``data`` has wire names and never a
private key.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

import msgspec
from immutables import Map

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


IndexKey: TypeAlias = str | Callable[[Row], Iterable[Hashable]]
"""The name of a field, or a module-level function that returns the values under which a row is found."""

Rows: TypeAlias = Map[str, Row]
_NO_ROWS: Final[Rows] = Map()


def project(row: Row) -> tuple[str]:
    """Return the row's project, as an index key."""
    return (row.project_id,)


class Table:
    """The rows of one kind by id. An index is built when it is first asked for; later copies keep it up to date."""

    __slots__ = ("_indexes", "rows")

    def __init__(self, rows: Rows, indexes: Mapping[IndexKey, Map[Hashable, Rows]] | None = None) -> None:
        self.rows = rows
        self._indexes = dict(indexes or {})

    def group(self, key: IndexKey, value: Hashable) -> Rows:
        """Return the rows that `key` maps to `value`, in no order."""
        index = self._indexes.get(key)
        if index is None:
            index = self._indexes[key] = self._indexed(key)
        return index.get(value, _NO_ROWS)

    def replaced(self, before: Row | None, after: Row | None) -> Table:
        """Return a copy with `after` in place of `before`; None means absent."""
        rows = self.rows.delete(before.id) if before is not None and after is None else self.rows
        if after is not None:
            rows = rows.set(after.id, after)
        # Another thread may add an index meanwhile.
        indexes = {key: _reindexed(index, key, before, after) for key, index in self._indexes.copy().items()}
        return Table(rows, indexes)

    def _indexed(self, key: IndexKey) -> Map[Hashable, Rows]:
        groups: dict[Hashable, dict[str, Row]] = {}
        for row in self.rows.values():
            for value in _values(key, row):
                groups.setdefault(value, {})[row.id] = row
        return Map({value: Map(rows) for value, rows in groups.items()})


def _values(key: IndexKey, row: Row | None) -> Iterable[Hashable]:
    if row is None:
        return ()
    if not isinstance(key, str):
        return key(row)
    value = row.data.get(key)
    return value if isinstance(value, list | tuple) else (value,)


def _reindexed(index: Map[Hashable, Rows], key: IndexKey, before: Row | None, after: Row | None) -> Map[Hashable, Rows]:
    changed = index.mutate()
    for value in set(_values(key, before)) - set(_values(key, after)):
        assert before is not None
        rows = changed[value].delete(before.id)
        if rows:
            changed[value] = rows
        else:
            del changed[value]
    for value in _values(key, after):
        assert after is not None
        changed[value] = changed.get(value, _NO_ROWS).set(after.id, after)
    return changed.finish()


def _creation(row: Row) -> tuple[datetime, str]:
    return row.created_at, row.id


class StoreSnapshot:
    """Every table by kind."""

    __slots__ = ("_tables",)

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables

    def rows(self, kind: str) -> Rows:
        """Return all rows of one kind by id, in no order."""
        return self._tables[kind].rows

    def get(self, kind: str, identifier: str | None) -> Row | None:
        """Return the row; None if absent."""
        return self._tables[kind].rows.get(identifier) if identifier else None

    def find(self, kind: str, key: IndexKey, value: Hashable) -> tuple[Row, ...]:
        """Return the rows whose field `key` equals or contains `value`, oldest first."""
        return tuple(sorted(self._tables[kind].group(key, value).values(), key=_creation))

    def count(self, kind: str, key: IndexKey, value: Hashable) -> int:
        """Return the number of rows that `find` would return."""
        return len(self._tables[kind].group(key, value))

    def replaced(self, before: Row | None, after: Row | None) -> StoreSnapshot:
        """Return a copy of the snapshot with `after` in place of `before`; None means absent."""
        row = after or before
        assert row is not None
        return StoreSnapshot({**self._tables, row.kind: self._tables[row.kind].replaced(before, after)})


def snapshot_of(rows: Iterable[Row], kinds: Iterable[str]) -> StoreSnapshot:
    """Build a snapshot of `rows`."""
    tables: dict[str, dict[str, Row]] = {kind: {} for kind in kinds}
    for row in rows:
        tables[row.kind][row.id] = row
    return StoreSnapshot({kind: Table(Map(own)) for kind, own in tables.items()})
