"""Output of commands: tables and blocks that fit the terminal, JSON, YAML, and exit codes for scripts."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import zip_longest
from typing import Annotated, Any, Final

import msgspec
import typer

BAD: Final = 1
"""Exit code: the answer is that something is wrong."""
PARTIAL: Final = 4
"""Exit code: a cluster or ELB did not answer, so that the answer is not complete."""

SEVERITIES: Final = {"refuse": "rejected", "warn": "warning", "info": "info"}
"""How a table names the severity of a finding."""

_GAP: Final = "  "
_NEVER_WRAPPED: Final = frozenset({"when", "expires", "ends", "written", "port", "verb", "fingerprint"})
_NARROWEST: Final = 9
"""Width below which a column is not wrapped any further."""
_UNIT: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_GOOD: Final = frozenset({"ok", "served", "good", "yes"})
_WARNING: Final = frozenset({"expiring", "late", "urgent", "note", "unknown", "unused"})


class Format(StrEnum):
    """Values of ``-o``."""

    table = "table"
    wide = "wide"
    json = "json"
    yaml = "yaml"

    @property
    def for_people(self) -> bool:
        """True if it is text, not data."""
        return self in (Format.table, Format.wide)


Output = Annotated[Format, typer.Option("-o", "--output", help="table, wide (all columns), json or yaml.")]


def show(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], form: Format, wide: Mapping[str, str] | None = None
) -> None:
    """Print rows: as a table `columns` (key to heading), with -o wide those of `wide` too, else every key."""
    if form is Format.table:
        typer.echo(table(rows, columns, terminal_width()))
    elif form is Format.wide:
        typer.echo(table(rows, {**columns, **(wide or {})}))
    else:
        document([dict(row) for row in rows], form)


def document(value: Any, form: Format) -> None:
    """Print one value as JSON or YAML."""
    plain = msgspec.to_builtins(value, str_keys=True)
    if form is Format.json:
        typer.echo(msgspec.json.format(msgspec.json.encode(plain), indent=2).decode())
    else:
        import yaml

        typer.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120).rstrip())


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], width: int | None = None) -> str:
    """Return aligned columns. If they are wider than `width`, the widest are wrapped; nothing is cut off."""
    cells = [[_cell(row.get(key), everything=width is None) for key in columns] for row in rows]
    widths = _widths(columns, cells, width)
    status = list(columns).index("status") if "status" in columns else None
    lines = [_GAP.join(h.ljust(w) for h, w in zip(columns.values(), widths, strict=True)).rstrip()]
    for row in cells:
        wrapped = [_wrap(cell, w) for cell, w in zip(row, widths, strict=True)]
        for parts in zip_longest(*wrapped, fillvalue=""):
            padded = [part.ljust(w) for part, w in zip(parts, widths, strict=True)]
            if status is not None:
                padded[status] = coloured(padded[status], row[status].split(" ")[0])
            lines.append(_GAP.join(padded).rstrip())
    return "\n".join(lines)


def _widths(columns: Mapping[str, str], cells: Sequence[Sequence[str]], width: int | None) -> list[int]:
    """Return the width of each column: of its longest cell, and less for the widest until all fit `width`."""
    widths = [max(map(len, column)) for column in zip(columns.values(), *cells, strict=True)]
    least = [
        w if key in _NEVER_WRAPPED else max(len(head), _NARROWEST)
        for (key, head), w in zip(columns.items(), widths, strict=True)
    ]
    while width and sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        shrinkable = [i for i, w in enumerate(widths) if w > least[i]]
        if not shrinkable:
            break
        widths[max(shrinkable, key=lambda i: widths[i])] -= 1
    return widths


def block(title: str, facts: Iterable[tuple[str, Any]], *, indent: str = "  ") -> str:
    """Return a title and labelled lines, wrapped below their label. Empty values are left out."""
    shown = [(label, _cell(value, everything=True)) for label, value in facts if value not in (None, "", [], ())]
    longest = max((len(label) for label, _ in shown), default=0)
    label_width = longest + 2 if longest else 0
    lines = [title] if title else []
    for label, text in shown:
        head = f"{indent}{label + ':' if label else '':<{label_width}}"
        # a command stays in one line, so that it can be copied
        lines += [head + text] if label == "next" else paragraph(text, head, " " * len(head))
    return "\n".join(lines)


def paragraph(text: str, head: str = "", indent: str = "") -> list[str]:
    """Return `text` in lines of the terminal's width; the first begins with `head`, the others with `indent`."""
    return textwrap.wrap(
        text,
        max(terminal_width(), 40),
        initial_indent=head,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [head.rstrip()]


def terminal_width() -> int:
    """Return the columns of the terminal; 80 if there is none."""
    return shutil.get_terminal_size((80, 24)).columns


def coloured(text: str, word: str) -> str:
    """Return `text` in the colour of a status `word`; plain if standard output is no terminal."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    colour = "green" if word in _GOOD else "yellow" if word in _WARNING else "red"
    return typer.style(text, fg=colour)


def warn(sentence: str) -> None:
    """Print one line on standard error."""
    typer.secho(sentence, err=True, fg="yellow" if sys.stderr.isatty() else None)


def ago(then: datetime, now: datetime) -> str:
    """Return “in 3d 4h” or “2h ago”: two units at most."""
    span = abs(then - now)
    units = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1)))
    parts: list[str] = []
    for name, unit in units:
        if span >= unit and len(parts) < 2:
            parts.append(f"{span // unit}{name}")
        span %= unit
    text = " ".join(parts) or "now"
    return text if not parts else f"in {text}" if then > now else f"{text} ago"


def instant(at: datetime) -> str:
    """Return a time with its zone: “2026-12-03 09:14 UTC”."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def duration(text: str) -> timedelta:
    """Parse ``90s``, ``30m``, ``4h`` or ``2d``. Raises UserError."""
    match = re.fullmatch(r"(\d{1,5})([smhd])", text)
    if not match:
        from certferry.settings import UserError

        raise UserError(f"“{text}” is not a duration: write it like 30m, 4h or 2d.")
    return timedelta(**{_UNIT[match[2]]: int(match[1])})


def plural(count: int, noun: str) -> str:
    """Return “1 listener”, “2 listeners”."""
    return f"{count} {noun}{'s' * (count != 1)}"


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


def _cell(value: Any, *, everything: bool) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, list | tuple):
        listed = [str(v) for v in value]
        more = f" +{len(listed) - 3}" if len(listed) > 3 and not everything else ""
        return ", ".join(listed if everything else listed[:3]) + more or "-"
    return str(value)
