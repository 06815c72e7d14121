"""``certferry plan``: what manifests would change on the ELB and why, before anybody applies them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from certferry.cli.options import Config
from certferry.core.decide import decide
from certferry.core.drift.drift import Modes
from certferry.core.model.elb import State as ElbState
from certferry.core.model.kubernetes import ClusterView
from certferry.core.plan_text import render_plan
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.manifests import assumed, objects, overlaid
from certferry.core.translate.translate import translate
from certferry.settings import ControllerSettings, UserError, read

CHANGES = 2
"""Exit code when something would change."""
_SUFFIXES = (".yaml", ".yml", ".json")


def plan(
    files: Annotated[
        list[Path],
        typer.Option(
            "-f", "--filename", help="A file or a directory of manifests; several times; - is stdin."
        ),
    ],
    cluster: Annotated[
        str | None,
        typer.Option(help="Lay the files over this entry of “clusters” and its ELB. Default: over nothing."),
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Lay them over the running `certferry up` of this directory.")
    ] = None,
    config: Config = None,
) -> int:
    """Show what manifests would change on the load balancer, and why. Exit code 2 if there is a change."""
    given = list(objects(_documents(files)))
    if not given:
        raise UserError(f"There is no Ingress, Service or Secret in {', '.join(map(str, files))}.")
    settings = read(ControllerSettings, "controller", {}, os.environ, _settings_file(config, state))
    base, observed, options = _world(settings, cluster, state, config)
    try:
        view = overlaid(base, given)
    except ValueError as error:
        raise UserError(f"{error}.") from None
    if observed is None:
        typer.secho(
            "Planned over an empty cluster and an empty load balancer; what is named by id is taken to exist.",
            dim=True,
        )
        observed = assumed(view, options.default_loadbalancer)
    translation = translate(view, observed, options, datetime.now(UTC))
    decision = decide(translation, observed, view.cluster_id, settings.drift if cluster or state else Modes())
    for line in render_plan(decision, translation, observed):
        typer.echo(line)
    return CHANGES if decision.steps else 0


def _world(
    settings: ControllerSettings, cluster: str | None, state: Path | None, config: Path | None
) -> tuple[ClusterView, ElbState | None, TranslateOptions]:
    from certferry.controller.translate_options import options_of

    if cluster is None and state is None:
        return ClusterView(cluster_id="the-cluster"), None, options_of(settings)
    from certferry.cli.cluster.inputs import load_inputs

    view, observed, options = asyncio.run(load_inputs(settings, cluster, state, config))
    return view, observed, options


def _settings_file(config: Path | None, state: Path | None) -> Path | None:
    from certferry import clusters as fleet

    return fleet.locate(config, state, os.environ) if config or state else None


def _documents(files: list[Path]) -> Iterator[Any]:
    for file in files:
        if str(file) == "-":
            yield from _parsed(file, typer.get_text_stream("stdin").read())
            continue
        found = (
            sorted(p for p in file.rglob("*") if p.suffix in _SUFFIXES and p.is_file())
            if file.is_dir()
            else [file]
        )
        for path in found:
            try:
                text = path.read_text()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not text"
                raise UserError(f"{path} cannot be read: {reason}.") from None
            yield from _parsed(path, text)


def _parsed(path: Path, text: str) -> Iterator[Any]:
    try:
        yield from yaml.safe_load_all(text)
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f" (line {line + 1})"
        raise UserError(f"{path} is not YAML{where}.") from None
