"""Tables, one page at a time: search, sort and page number are read from the URL.

Invariant: a row that cannot be computed or rendered is one sentence in its place, and the other rows are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import urlencode

import structlog
from markupsafe import Markup

from certferry.console.web.errors import PageError
from certferry.core.plural import counted

R = TypeVar("R")
T = TypeVar("T")
V = TypeVar("V")
_log = structlog.get_logger("certferry.console")

ROWS: Final = 25
"""Rows of a page."""


class Column(NamedTuple):
    """A column: `key` in the URL, its label, and its sort key (None: not sortable).

    `low`: a narrow window leaves it out.
    """

    key: str
    label: str
    sort: Callable[[Any], Any] | None = None
    low: bool = False


class Chips(NamedTuple):
    """A filter of a list, as links: `key` in the URL, its label, the values of a row, and (value, label) to choose."""

    key: str
    label: str
    values: Callable[[Any], Iterable[str]]
    options: Sequence[tuple[str, str]]


class Chip(NamedTuple):
    """One choice of a filter, with the number of rows and the query that chooses it or ends the choice."""

    label: str
    rows: int
    query: str
    chosen: bool


class UnshownRow(NamedTuple):
    """A row that cannot be shown; `error` is the class of the exception, because its text may quote a value."""

    name: str
    error: str


def build_rows(items: Iterable[T], build: Callable[[T], R], name: Callable[[T], object]) -> list[R | UnshownRow]:
    """Return one row for each item."""
    rows: list[R | UnshownRow] = []
    for item in items:
        try:
            rows.append(build(item))
        except Exception as error:  # noqa: BLE001 (a row affects no other)
            rows.append(_unshown(str(name(item)), error))
    return rows


def _unshown(name: str, error: Exception) -> UnshownRow:
    _log.error("row cannot be shown", row=name, error=type(error).__name__, exc_info=error)
    return UnshownRow(name, type(error).__name__)


class TablePage(Generic[R]):
    """One page of a table, and the links to the others. `noun`: one row, in the singular.

    The first word of a row's `text` is its name.
    """

    def __init__(
        self,
        rows: Sequence[R | UnshownRow],
        columns: Sequence[Column],
        query: Mapping[str, str],
        text: Callable[[R], str],
        noun: str,
        filters: Sequence[Chips] = (),
    ) -> None:
        self.columns = columns
        self._query = dict(query)
        self._noun = noun
        self._text = text
        self.search = query.get("q", "").strip()
        self.sort = query.get("sort", "")
        self.chips: list[tuple[str, list[Chip]]] = []
        self.total = len(rows)
        total = counted(len(rows), noun)
        chosen = rows
        for chips in filters:
            chosen = self._filtered(chosen, chips)
        matches = matching(chosen, self.search, self._searched)
        self.matches = len(matches)
        self.narrowed = bool(self.search) or len(matches) < len(rows)
        """True if a search or a filter is on."""
        self.count = f"{len(matches)} of {total}" if self.narrowed else total
        self._arrange(matches)
        self.pages = max(1, -(-len(matches) // ROWS))
        self.page = self._page(query.get("page", "1"))
        self.first = (self.page - 1) * ROWS
        self.rows = matches[self.first : self.first + ROWS]

    def derive(self, value: Callable[[R], tuple[T, V]]) -> dict[T, V]:
        """Return a key and a value for each row of this page; a row without a value is not shown."""
        values: dict[T, V] = {}
        for number, row in enumerate(self.rows):
            if not isinstance(row, UnshownRow):
                try:
                    values |= [value(row)]
                except Exception as error:  # noqa: BLE001 (a row affects no other)
                    self.rows[number] = _unshown(self._name(row), error)
        return values

    def show(self, row: R | UnshownRow, caller: Callable[[], Markup]) -> Markup:
        """Return the HTML of a row, which `caller` renders (``{% call listing.show(row) %}``)."""
        if not isinstance(row, UnshownRow):
            try:
                return caller()
            except Exception as error:  # noqa: BLE001 (a row affects no other)
                row = _unshown(self._name(row), error)
        sentence = f"{row.name} cannot be shown: {row.error}. The log of the console has the details."
        return Markup('<tr class="unshown"><td colspan="{}">{}</td></tr>').format(len(self.columns), sentence)

    def _name(self, row: R | UnshownRow) -> str:
        return (self._searched(row).split() or [f"One {self._noun}"])[0]

    def _searched(self, row: R | UnshownRow) -> str:
        if isinstance(row, UnshownRow):
            return row.name
        try:
            return self._text(row)
        except Exception:  # noqa: BLE001 (its rendering reports the reason)
            return ""

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

    def _arrange(self, rows: list[R | UnshownRow]) -> None:
        key = self.sort.removeprefix("-")
        if not key:
            return
        column = next((c for c in self.columns if c.key == key and c.sort), None)
        if column is None or column.sort is None:
            raise PageError(400, "No such order", f"This list cannot be sorted by “{key[:40]}”.")
        keys = build_rows(rows, column.sort, self._name)
        broken = [row for row, key in zip(rows, keys, strict=True) if isinstance(key, UnshownRow)]
        keyed = [(key, row) for row, key in zip(rows, keys, strict=True) if not isinstance(key, UnshownRow)]
        keyed.sort(key=lambda pair: pair[0], reverse=self.sort.startswith("-"))
        rows[:] = [*(row for _, row in keyed), *broken]

    def _filtered(self, rows: Sequence[R | UnshownRow], chips: Chips) -> Sequence[R | UnshownRow]:
        """Return the rows with the chosen value, and keep the choices with their counts for the page."""
        chosen = self._query.get(chips.key, "")
        if chosen and chosen not in dict(chips.options):
            raise PageError(400, "No such filter", f"{chips.label} cannot be “{chosen[:40]}”.")
        by_value: dict[str, list[R | UnshownRow]] = {}
        for row in rows:
            for value in () if isinstance(row, UnshownRow) else chips.values(row):
                by_value.setdefault(value, []).append(row)
        choices = [
            Chip(
                label,
                len(by_value.get(value, ())),
                self.url(**{chips.key: None if value == chosen else value}),
                value == chosen,
            )
            for value, label in chips.options
        ]
        self.chips.append((chips.label, choices))
        return by_value.get(chosen, []) if chosen else rows

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
