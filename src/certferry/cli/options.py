"""What several commands share: their common options, and how a server runs until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from certferry.settings import UserError

Config = Annotated[
    Path | None,
    typer.Option(envvar="CERTFERRY_CONFIG", help="Settings file (YAML or JSON), a section per program."),
]
State = Annotated[Path | None, typer.Option(help="The directory that everything lives in.")]
Listen = Annotated[str | None, typer.Option(help="Where to listen, like 127.0.0.1:8080.")]


def run_server(
    program: str, work: Callable[[], Coroutine[Any, Any, None]], listen: str, *refusals: type[Exception]
) -> None:
    """Run a server until it ends. What the system refuses, and `refusals`, are one line each."""
    from certferry.runtime import logging as logs

    logs.configure(program)
    try:
        asyncio.run(work())
    except refusals as refusal:
        raise UserError(str(refusal)) from None
    except OSError as error:
        raise not_listening(listen, error) from None


def not_listening(listen: str, error: OSError) -> UserError:
    """What is said when the system refuses an address."""
    return UserError(f"{listen} cannot be listened on: {error.strerror or error}.")


def text(path: Path | None) -> str | None:
    """A path as a setting."""
    return None if path is None else str(path.expanduser())


def given(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given."""
    return {name: value for name, value in flags.items() if value is not None}
