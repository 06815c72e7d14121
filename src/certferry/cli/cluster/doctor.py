"""``certferry doctor``: everything that a controller needs, in one table; exit code 1 when something is wrong."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from certferry.cli.options import Config, State
from certferry.settings import ControllerSettings, read


def doctor(
    cluster: Annotated[
        str | None, typer.Option(help="Entry of “clusters” in the settings file. Default: all of them.")
    ] = None,
    state: State = None,
    config: Config = None,
) -> None:
    """Check what the controller needs, and say how to fix it. Exit code 1 if a check fails."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from certferry import clusters as fleet
    from certferry.controller.doctor import CheckResult, run_checks

    found = fleet.read(config, state)
    settings = read(ControllerSettings, "controller", {}, os.environ, found.file)
    clusters = (found.cluster(cluster),) if cluster else found.clusters
    chosen = fleet.Fleet(clusters=clusters, file=found.file)
    answers = asyncio.run(fleet.fan_out(chosen, lambda access: run_checks(access, settings), deadline=60))
    table = Table("Cluster", "", "Check", "What was found, and what to do", expand=True)
    words = {"ok": ("ok", "green"), "warning": ("note", "yellow"), "failure": ("WRONG", "bold red")}
    failed = False
    for answer in answers:
        verdicts = answer.value or [
            CheckResult(check="Checks", level="failure", sentence=answer.trouble or "", remedy="Try again.")
        ]
        for verdict in verdicts:
            word, style = words[verdict.level]
            failed = failed or verdict.level == "failure"
            text = Text(verdict.sentence)
            if verdict.remedy:
                text.append(f"\n→ {verdict.remedy}", style="bold")
            table.add_row(Text(answer.cluster), Text(word, style), Text(verdict.check), text)
    Console().print(table)
    if failed:
        raise typer.Exit(1)
