"""``certferry explain``: which certificate each host of an Ingress gets, and why."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer

from certferry.cli.lazy import TYPER
from certferry.cli.options import Config, State
from certferry.cli.output import paragraph
from certferry.core.diagnosis.cluster import diagnose
from certferry.core.diagnosis.explain import Explanation, HostExplanation, explain
from certferry.core.model.kubernetes import Name
from certferry.settings import AlertSettings, ControllerSettings, UserError, read

app = typer.Typer(help="Explain which certificate a host gets.", no_args_is_help=True, **TYPER)


@app.callback()
def _group() -> None: ...


@app.command()
def ingress(
    name: Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="The Ingress.")],
    cluster: Annotated[str | None, typer.Option(help="Entry of “clusters” in the settings file.")] = None,
    state: State = None,
    config: Config = None,
) -> None:
    """Explain for each host of an Ingress which certificate it gets, why, and which would be next."""
    from certferry import clusters as fleet
    from certferry.cli.cluster.inputs import load_inputs
    from certferry.clusters.settings_file import expiry_limits

    namespace, slash, short = name.partition("/")
    if not (namespace and slash and short):
        raise UserError(f"“{name}” is not an Ingress: write NAMESPACE/NAME.")
    file = fleet.locate(config, state, os.environ)
    settings = read(ControllerSettings, "controller", {}, os.environ, file)
    alerts = read(AlertSettings, "alerts", {}, os.environ, file)
    view, observed, options = asyncio.run(load_inputs(settings, cluster, state, config))
    current = diagnose(view, observed, options, datetime.now(UTC), expiry_limits(alerts))
    explanation = explain(current, Name(namespace, short))
    if explanation is None:
        raise UserError(f"There is no Ingress {name} in the cluster.", 1)
    for line in lines(explanation):
        indent = " " * (10 if ": " in line[:10] else 4)
        for part in paragraph(line.strip(), line[: len(line) - len(line.lstrip())], indent) if line else [""]:
            typer.echo(part)


def lines(explanation: Explanation) -> Iterator[str]:
    """Yield the lines of an explanation."""
    yield f"Ingress {explanation.ingress}"
    if not explanation.governed:
        yield "  is on no load balancer: it has another class, or names none."
    for sentence in explanation.governed:
        yield f"  {sentence}"
    for host in explanation.stories:
        yield ""
        yield from _host(host)
    if explanation.problems:
        yield ""
    for problem in explanation.problems:
        yield f"! {problem.reason}: {problem.sentence}"


def _host(host: HostExplanation) -> Iterator[str]:
    yield f"{host.host or '(clients that name no host)'}, port {host.port}"
    yield f"  {'to be:' if host.now else 'bound:'}  {host.certificate or 'nothing'}"
    if host.source:
        yield f"  from:   {host.source}"
    yield f"  why:    {host.why}"
    if host.now:
        yield f"  now:    {host.now}; the controller is about to change that"
    if host.following:
        yield f"  next:   without it, {host.following}"
