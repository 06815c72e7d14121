"""How commands answer: a table for people, JSON or YAML for programs, and exit codes for scripts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
import typer
import yaml

BAD: Final = 1
"""Exit code: the answer is that something is wrong."""
PARTIAL: Final = 4
"""Exit code: a cluster or ELB did not answer, so that the answer is not complete."""


class Format(StrEnum):
    """What ``-o`` takes."""

    table = "table"
    json = "json"
    yaml = "yaml"


Output = Annotated[Format, typer.Option("-o", "--output", help="table, json or yaml.")]


def show(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], form: Format) -> None:
    """Print `rows`: as a table only `columns`, else all of each row."""
    if form is Format.table:
        typer.echo(table(rows, columns))
    else:
        document([dict(row) for row in rows], form)


def document(value: Any, form: Format) -> None:
    """Print one value as JSON or YAML."""
    plain = msgspec.to_builtins(value, str_keys=True)
    if form is Format.json:
        typer.echo(msgspec.json.format(msgspec.json.encode(plain), indent=2).decode())
    else:
        typer.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120).rstrip())


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Columns as wide as they must be, their names in capitals."""
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    heads = [column.replace("_", " ").upper() for column in columns]
    widths = [max(len(line[i]) for line in (heads, *cells)) for i in range(len(columns))]
    lines = ("   ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in (heads, *cells))
    return "\n".join(line.rstrip() for line in lines)


def warn(sentence: str) -> None:
    """One line beside the answer."""
    typer.secho(sentence, err=True, fg="yellow" if sys.stderr.isatty() else None)


def ago(then: datetime, now: datetime) -> str:
    """“in 3d 4h”, “2h ago”: two units at most."""
    span = abs(then - now)
    units = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1)))
    parts: list[str] = []
    for name, unit in units:
        if span >= unit and len(parts) < 2:
            parts.append(f"{span // unit}{name}")
        span %= unit
    text = " ".join(parts) or "now"
    return text if not parts else f"in {text}" if then > now else f"{text} ago"


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return _several([str(v) for v in value])
    return str(value)


def _several(values: Iterable[str]) -> str:
    listed = list(values)
    more = f" +{len(listed) - 3}" if len(listed) > 3 else ""
    return (", ".join(listed[:3]) + more) or "-"
