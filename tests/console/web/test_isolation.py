"""One object that cannot be shown, or that is very large: the rest of the page and the other users are served."""

from __future__ import annotations

from typing import Any

import pytest

from certferry.console.pages.objects.diff import diff
from certferry.console.web.listing import Column, TablePage, UnshownRow, build_rows
from certferry.console.web.templating import TEMPLATES, Templates

COLUMNS = (Column("name", "Name", lambda row: row["name"]), Column("size", "Size", lambda row: 1 / row["size"]))
ROWS: list[dict[str, Any]] = [{"name": f"demo/{n}", "size": n} for n in (3, 0, 2)]
TEMPLATE = (
    "{% for row in listing.rows %}{% call listing.show(row) %}<tr><td>{{ row.name }}: {{ 6 // row.size }}</td></tr>"
    "{% endcall %}{% endfor %}"
)
SENTENCE = "demo/0 cannot be shown: ZeroDivisionError. The log of the console has the details."


def page(rows: list[Any], **query: str) -> TablePage[dict[str, Any]]:
    return TablePage(rows, COLUMNS, query, lambda row: f"{row['name']} {row.get('text', '')}", "number")


def rendered(listing: TablePage[dict[str, Any]]) -> str:
    return Templates()._templates.from_string(TEMPLATE).render(listing=listing)


def test_a_row_that_fails_to_render_is_one_sentence() -> None:
    html = rendered(page(list(ROWS)))
    assert SENTENCE in html
    assert "<td>demo/3: 2</td>" in html
    assert "<td>demo/2: 3</td>" in html


def test_a_row_that_fails_to_be_built_is_one_sentence() -> None:
    rows = build_rows(ROWS, lambda row: {**row, "half": 1 / row["size"]}, lambda row: row["name"])
    assert rows[1] == UnshownRow("demo/0", "ZeroDivisionError")
    html = rendered(page(rows))
    assert SENTENCE in html
    assert html.count("<tr") == 3
    assert "demo/0" in rendered(page(rows, q="demo/0"))


@pytest.mark.parametrize(("order", "names"), [("size", "320"), ("-size", "230")])
def test_a_row_without_a_sort_key_is_last(order: str, names: str) -> None:
    listing = page(list(ROWS), sort=order)
    assert [row["name"][-1] for row in listing.rows if isinstance(row, dict)] == list(names)


def test_a_row_whose_status_fails_is_one_sentence_and_the_others_have_theirs() -> None:
    listing = page(list(ROWS))
    assert listing.derive(lambda row: (row["name"], 6 // row["size"])) == {"demo/3": 2, "demo/2": 3}
    assert SENTENCE in rendered(listing)


def test_the_sentence_quotes_no_value_and_is_escaped() -> None:
    def build(row: dict[str, Any]) -> None:
        raise ValueError("-----BEGIN PRIVATE KEY-----")

    html = rendered(page(build_rows(ROWS[:1], build, lambda _: "<b>")))
    assert "PRIVATE KEY" not in html
    assert "&lt;b&gt; cannot be shown: ValueError." in html


def test_every_table_shows_its_rows_one_by_one() -> None:
    loops = [part for file in TEMPLATES.rglob("*.html") for part in file.read_text().split(" in listing.rows %}")[1:]]
    tables = [part for part in loops if not part.startswith("<li>")]
    assert len(tables) >= 8
    assert all(part.startswith("{% call listing.show(") for part in tables)


def test_the_diff_of_a_large_object_is_linear_and_shows_what_changes() -> None:
    """difflib takes minutes for lines that repeat, and every page of the console waits for it."""
    old = {"kind": "ConfigMap", "metadata": {"name": "big"}, "data": {f"k{n:05}": str(n % 150) for n in range(3_000)}}
    data = {**old["data"], "k00100": "changed"}  # type: ignore[dict-item]
    lines = diff(old, {**old, "data": data})
    assert [(line.kind, line.text.strip()) for line in lines[1:]] == [
        ("removed", "-  k00100: '100'"),
        ("added", "+  k00100: changed"),
    ]
    assert diff(old, old) == []
    swapped = {**old, "data": {f"k{n:05}": str(n * 7 % 150) for n in range(3_000)}}
    assert len(diff(old, swapped)) > 2_000
