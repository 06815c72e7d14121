"""``certferry doctor``: check everything that a controller needs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from certferry.cli.options import Config, State
from certferry.cli.output import BAD, coloured, paragraph
from certferry.settings import ControllerSettings, read

if TYPE_CHECKING:
    from certferry.controller.doctor.result import CheckResult

_WORDS: Final = {"ok": "ok", "warning": "note", "failure": "WRONG"}


def doctor(
    cluster: Annotated[
        str | None, typer.Option(help="Entry of “clusters” in the settings file. Default: all of them.")
    ] = None,
    state: State = None,
    config: Config = None,
) -> None:
    """Check what the controller needs, and say how to fix it. Exit code 1 if a check fails."""
    from certferry import clusters
    from certferry.controller.doctor.result import CheckResult
    from certferry.controller.doctor.run import run_checks

    every = clusters.read(config, state)
    settings = read(ControllerSettings, "controller", {}, os.environ, every.file)
    fleet = clusters.Fleet(clusters=(every.cluster(cluster),) if cluster else every.clusters, file=every.file)
    answers = asyncio.run(clusters.fan_out(fleet, lambda access: run_checks(access, settings), deadline=60))
    failed = False
    for answer in answers:
        results = answer.value or [
            CheckResult(check="Checks", level="failure", sentence=answer.trouble or "", remedy="Try again.")
        ]
        failed = failed or any(result.level == "failure" for result in results)
        _print(answer.cluster, results)
    if failed:
        raise typer.Exit(BAD)


def _print(cluster: str, results: Sequence[CheckResult]) -> None:
    """Print a block: a line for each check, and what to do below a failed one."""
    typer.echo(f"Cluster {cluster}")
    width = max(len(result.check) for result in results)
    for result in results:
        word = _WORDS[result.level]
        head = f"  {word:<5}  {result.check:<{width}}  "
        first, *rest = paragraph(result.sentence, head, " " * len(head))
        typer.echo(first.replace(word, coloured(word, word), 1))
        for line in rest:
            typer.echo(line)
        if result.remedy:
            for line in paragraph(result.remedy, f"{'':{len(head)}}→ ", " " * (len(head) + 2)):
                typer.echo(line)
