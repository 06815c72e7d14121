"""Options that several commands share, and the run of a server."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from certferry.settings import UserError

if TYPE_CHECKING:
    from certferry.clusters import ClusterAccess, Fleet

_STORAGE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""Errors of a disk, not of a socket."""

Config = Annotated[Path | None, typer.Option(envvar="CERTFERRY_CONFIG", help="Settings file (YAML or JSON).")]
State = Annotated[Path | None, typer.Option(help="State directory.")]
New = Annotated[bool, typer.Option("--new", help="Start with an empty store where the old one is lost.")]
Listen = Annotated[str | None, typer.Option(help="Address to listen on, like 127.0.0.1:8080.")]


def chosen(config: Path | None, state: Path | None, cluster: str | None) -> Fleet:
    """Return the clusters of the settings, or the named one. Raises UserError."""
    from certferry.clusters import Fleet, read

    fleet = read(config, state)
    return Fleet(clusters=(fleet.cluster(cluster),), file=fleet.file) if cluster else fleet


def one_cluster(config: Path | None, state: Path | None, cluster: str | None) -> ClusterAccess:
    """Return the cluster of the settings, or the named one of several. Raises UserError."""
    clusters = chosen(config, state, cluster).clusters
    if len(clusters) != 1:
        raise UserError(f"The settings have {len(clusters)} clusters: name one with --cluster.")
    return clusters[0]


def run_server(
    program: str, work: Callable[[], Coroutine[Any, Any, None]], listen: str, *refusals: type[Exception]
) -> None:
    """Run a server until it ends. Raises UserError for `refusals` and for what the system refuses."""
    from certferry.runtime import logging as logs
    from certferry.runtime import process

    process.bound_malloc()
    logs.configure(program)
    try:
        asyncio.run(work())
    except refusals as refusal:
        raise UserError(str(refusal)) from None
    except OSError as error:
        if error.filename is not None or error.errno in _STORAGE:
            raise UserError(f"{error.filename or 'A file'} cannot be read or written: {error.strerror}.") from None
        raise not_listening(listen, error) from None


def not_listening(listen: str, error: OSError) -> UserError:
    """Return the error for an address that the system refuses."""
    return UserError(f"Cannot listen on {listen}: {error.strerror or error}.")


def text(path: Path | None) -> str | None:
    """Return a path as the value of a setting."""
    return None if path is None else str(path.expanduser())


def given(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the flags that have a value."""
    return {name: value for name, value in flags.items() if value is not None}
