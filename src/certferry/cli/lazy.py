"""Command groups that import a command's module only when the command is called.

A group knows name, section and one line of help of each command. A test compares the lines with the commands' docstrings.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import typer.main
from typer.core import TyperCommand, TyperGroup

from certferry.cli.parameters import convert_plainly

TYPER: Final[dict[str, Any]] = {"rich_markup_mode": None, "add_completion": False}
"""Arguments of every Typer: plain help, because importing rich takes as long as Typer itself."""


class Entry(NamedTuple):
    """A command of a group."""

    target: str
    """``module:name`` of a function or a Typer."""
    help: str
    section: str = "Commands"
    hidden: bool = False
    extra: str = ""
    """The extra of the package that the command needs."""


class LazyGroup(TyperGroup):
    """A group whose commands are placeholders until one is called."""

    entries: Mapping[str, Entry] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {
            name: TyperCommand(name, callback=None, help=entry.help, hidden=entry.hidden, rich_markup_mode=None)
            for name, entry in self.entries.items()
        }

    def load(self, name: str) -> Any:
        """Import a command and return it in place of its placeholder."""
        module, _, attribute = self.entries[name].target.partition(":")
        gc.disable()  # because collections during the imports take 20 ms and find nothing
        try:
            with _without_rich():
                target = getattr(importlib.import_module(module), attribute)
        finally:
            gc.freeze()
            gc.enable()
        if isinstance(target, typer.Typer):
            group = typer.main.get_group(target)
            group.name = name
            return group
        single = typer.Typer(**TYPER)
        single.command(name, hidden=self.entries[name].hidden)(target)
        return typer.main.get_command(single)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options of the group itself."""
        convert_plainly(self, ctx)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return name, command and the remaining arguments, as Typer does."""
        name, command, rest = super().resolve_command(ctx, args)
        if name:
            command = self.load(name)
            convert_plainly(command, ctx)
        return name, command, rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands by section."""
        shown = {name: entry for name, entry in self.entries.items() if not entry.hidden}
        for section in dict.fromkeys(entry.section for entry in shown.values()):
            rows = [(name, entry.help) for name, entry in shown.items() if entry.section == section]
            with formatter.section(section):
                formatter.write_dl(rows)


@contextmanager
def _without_rich() -> Iterator[None]:
    """Hide rich within the block: structlog would load it for tracebacks in colour, and each program have 5 MB more."""
    if "rich" in sys.modules:
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["rich"]


def lazy_group(entries: Mapping[str, Entry]) -> type[LazyGroup]:
    """Return the class of a group with these commands, for ``typer.Typer(cls=...)``."""
    return type("CommandGroup", (LazyGroup,), {"entries": entries})
