"""Tables, one page at a time: search, sort and page number are read from the URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import urlencode

from certferry.console.web.errors import PageError
from certferry.core.plural import counted

R = TypeVar("R")

ROWS: Final = 25
"""Rows of a page."""


class Column(NamedTuple):
    """A column: `key` in the URL, its label, and its sort key (None: not sortable)."""

    key: str
    label: str
    sort: Callable[[Any], Any] | None = None


class TablePage(Generic[R]):
    """One page of a table, and the links to the others. `noun`: one row, in the singular."""

    def __init__(
        self,
        rows: Sequence[R],
        columns: Sequence[Column],
        query: Mapping[str, str],
        text: Callable[[R], str],
        noun: str,
    ) -> None:
        self.columns = columns
        self._query = dict(query)
        self.search = query.get("q", "").strip()
        self.sort = query.get("sort", "")
        matches = matching(rows, self.search, text)
        self.matches = len(matches)
        total = counted(len(rows), noun)
        self.count = f"{len(matches)} of {total}" if self.search else total
        self._arrange(matches)
        self.pages = max(1, -(-len(matches) // ROWS))
        self.page = self._page(query.get("page", "1"))
        self.first = (self.page - 1) * ROWS
        self.rows = matches[self.first : self.first + ROWS]

    def url(self, **changes: str | int | None) -> str:
        """Return the query with `changes`; a new order or search begins at the first page."""
        query = {k: v for k, v in self._query.items() if k != "page" or set(changes) == {"page"}}
        query |= {k: str(v) for k, v in changes.items() if v not in (None, "")}
        for key in [k for k, v in changes.items() if v in (None, "")]:
            query.pop(key, None)
        return f"?{urlencode(query)}" if query else "?"

    def order(self, column: Column) -> str:
        """Return the value of aria-sort."""
        if self.sort.removeprefix("-") != column.key:
            return "none"
        return "descending" if self.sort.startswith("-") else "ascending"

    def sorting(self, column: Column) -> str:
        """Return the query that sorts by `column`; descending if it is sorted ascending now."""
        return self.url(sort=f"-{column.key}" if self.order(column) == "ascending" else column.key)

    def _arrange(self, rows: list[R]) -> None:
        key = self.sort.removeprefix("-")
        if not key:
            return
        column = next((c for c in self.columns if c.key == key and c.sort), None)
        if column is None or column.sort is None:
            raise PageError(400, "No such order", f"This list cannot be sorted by “{key[:40]}”.")
        rows.sort(key=column.sort, reverse=self.sort.startswith("-"))

    def _page(self, text: str) -> int:
        if not text.isdecimal() or not text.isascii() or len(text) > 9 or int(text) < 1:
            raise PageError(400, "No such page", f"“{text[:40]}” is no page number.")
        if int(text) > self.pages:
            raise PageError(404, "No such page", f"This list has {self.pages} pages.")
        return int(text)


def matching(rows: Sequence[R], search: str, text: Callable[[R], str]) -> list[R]:
    """Return the rows whose text contains every word of `search`, ignoring case."""
    words = search.lower().split()
    return [row for row in rows if all(w in text(row).lower() for w in words)] if words else list(rows)
