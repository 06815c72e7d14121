"""``certferry console``: the web console, on its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import structlog  # noqa: F401 (while rich is hidden: see ``lazy``)
import typer

from certferry.cli.options import Config, Listen, State, given, run_server, text
from certferry.settings import ConsoleSettings, read


def console(
    state: State = None,
    listen: Listen = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="PEM; with --tls-key it may listen beyond loopback.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM, unencrypted.")] = None,
    config: Config = None,
) -> None:
    """Run the web console. It shows the clusters of the settings file."""
    from certferry import clusters as fleet
    from certferry.console.main import serve

    flags = {"listen": listen, "tls_certificate": text(tls_certificate), "tls_key": text(tls_key)}
    settings = read(ConsoleSettings, "console", given(flags), os.environ, config)
    clusters = fleet.read(config, state)
    run_server("console", lambda: serve(clusters, settings), settings.listen)
