"""Start-up of the command line: what is imported, and the help of the lazy groups."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from certferry.cli import app
from certferry.cli.lazy import LazyGroup

HEAVY = ("aiohttp", "cryptography", "pydantic", "rich", "certferry.core", "certferry.settings")


def imported(*arguments: str) -> set[str]:
    """Return the modules that a command has imported when it ends."""
    program = (
        "import json, sys\n"
        "from certferry.cli import main\n"
        f"sys.argv = {['certferry', *arguments]!r}\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("words", [["version"], ["--version"], ["--help"], ["cert", "--help"], ["bogus-command"]])
def test_version_and_help_import_nothing_heavy(words: list[str]) -> None:
    modules = imported(*words)
    assert not [name for name in HEAVY if name in modules]


@pytest.mark.parametrize("words", [["cert", "ls", "--help"], ["why", "--help"], ["user", "--help"]])
def test_a_command_imports_neither_rich_nor_pydantic_nor_aiohttp(words: list[str]) -> None:
    modules = imported(*words)
    assert "certferry.cli.options" in modules
    assert not modules & {"rich", "pydantic", "aiohttp"}


@pytest.mark.parametrize("program", ["controller", "elb", "console", "kube", "up"])
def test_a_program_never_loads_rich(program: str) -> None:
    mains = {"kube": "certferry.kube.apiserver.main", "elb": "certferry.elb.server.main", "up": "certferry.up.run"}
    code = (
        "import importlib, sys, typer.main\n"
        "from certferry.cli import app\n"
        f"typer.main.get_command(app).load({program!r})\n"
        f"importlib.import_module({mains.get(program, f'certferry.{program}.main')!r})\n"
        "assert 'structlog' in sys.modules\n"
        "assert 'rich' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def groups() -> Iterator[tuple[str, LazyGroup]]:
    """Yield each lazy group with its words."""
    root: Any = typer.main.get_command(app)
    yield "", root
    for name in root.entries:
        if isinstance(command := root.load(name), LazyGroup):
            yield name, command


def test_the_help_of_a_group_is_the_help_of_its_commands() -> None:
    for words, group in groups():
        for name, entry in group.entries.items():
            command = group.load(name)
            first = " ".join(inspect.cleandoc(command.help or "").split())
            assert first.startswith(entry.help.rstrip(".")), f"{words} {name}: {first!r}, not {entry.help!r}"
            assert command.hidden == entry.hidden
