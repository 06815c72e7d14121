"""``certferry explain``: why a host is shown the certificate that it is shown."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from certferry.cli.lazy import TYPER
from certferry.cli.options import Config
from certferry.core.diagnosis.cluster import diagnose
from certferry.core.diagnosis.explain import Explanation, HostExplanation, explain
from certferry.core.model.kubernetes import Name
from certferry.core.x509.expiry import Limits
from certferry.settings import ControllerSettings, UserError, read

app = typer.Typer(help="Explain which certificate a host gets.", no_args_is_help=True, **TYPER)


@app.callback()
def _group() -> None:
    """Why things are as they are."""


@app.command()
def ingress(
    name: Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="The Ingress.")],
    cluster: Annotated[str | None, typer.Option(help="Entry of “clusters” in the settings file.")] = None,
    state: Annotated[Path | None, typer.Option(help="The directory of a running `certferry up`.")] = None,
    config: Config = None,
) -> None:
    """For each host: which certificate is shown, where it comes from, why this one, and what would be next."""
    from certferry import clusters as fleet
    from certferry.cli.cluster.inputs import load_inputs

    namespace, slash, short = name.partition("/")
    if not (namespace and slash and short):
        raise UserError(f"“{name}” is no Ingress: write NAMESPACE/NAME.")
    settings = read(ControllerSettings, "controller", {}, os.environ, fleet.locate(config, state, os.environ))
    view, observed, options = asyncio.run(load_inputs(settings, cluster, state, config))
    current = diagnose(view, observed, options, datetime.now(UTC), Limits())
    found = explain(current, Name(namespace, short))
    if found is None:
        raise UserError(f"There is no Ingress {name} in the cluster.", 1)
    for line in lines(found):
        typer.echo(line)


def lines(it: Explanation) -> Iterator[str]:
    """What is printed."""
    yield f"Ingress {it.ingress}"
    if not it.governed:
        yield "  is on no load balancer: it has another class, or names none."
    for sentence in it.governed:
        yield f"  {sentence}"
    for story in it.stories:
        yield ""
        yield from _story(story)
    if it.problems:
        yield ""
    for problem in it.problems:
        yield f"! {problem.reason}: {problem.sentence}"


def _story(story: HostExplanation) -> Iterator[str]:
    yield f"{story.host or '(clients that name no host)'}, port {story.port}"
    yield f"  shown:  {story.certificate or 'nothing'}"
    if story.source:
        yield f"  from:   {story.source}"
    yield f"  why:    {story.why}"
    if story.now:
        yield f"  now:    {story.now}; the controller is about to change that"
    if story.following:
        yield f"  next:   without it, {story.following}"
