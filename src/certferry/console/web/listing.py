"""Long lists, a page at a time: search, sort and page are read from the URL and done here.

A page module hands in all its rows and how they are sorted; the template gets those of one page. It
knows nothing of what is in a row but its text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import urlencode

from certferry.console.web.errors import PageError

R = TypeVar("R")

ROWS: Final = 25
"""Rows of a page."""


class Column(NamedTuple):
    """A column: `key` in the URL, its label, and what it is sorted by (None: it is not)."""

    key: str
    label: str
    sort: Callable[[Any], Any] | None = None


class TablePage(Generic[R]):
    """One page of a list, and the way to the others."""

    def __init__(
        self,
        rows: Sequence[R],
        columns: Sequence[Column],
        query: Mapping[str, str],
        text: Callable[[R], str],
    ) -> None:
        self.columns = columns
        self._query = dict(query)
        self.search = query.get("q", "").strip()
        self.sort = query.get("sort", "")
        self.total = len(rows)
        words = self.search.lower().split()
        found = [r for r in rows if all(w in text(r).lower() for w in words)] if words else list(rows)
        self.found = len(found)
        self._arrange(found)
        self.pages = max(1, -(-len(found) // ROWS))
        self.page = self._page(query.get("page", "1"))
        self.first = (self.page - 1) * ROWS
        self.rows = found[self.first : self.first + ROWS]

    def url(self, **changes: str | int | None) -> str:
        """The query of the same list with changes; a new order or search begins at the first page."""
        query = {k: v for k, v in self._query.items() if k != "page" or set(changes) == {"page"}}
        query |= {k: str(v) for k, v in changes.items() if v not in (None, "")}
        for key in [k for k, v in changes.items() if v in (None, "")]:
            query.pop(key, None)
        return f"?{urlencode(query)}" if query else "?"

    def order(self, column: Column) -> str:
        """For aria-sort."""
        if self.sort.removeprefix("-") != column.key:
            return "none"
        return "descending" if self.sort.startswith("-") else "ascending"

    def sorting(self, column: Column) -> str:
        """The query that sorts by `column`, the other way round when it is so already."""
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
