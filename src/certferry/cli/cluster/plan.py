"""``certferry plan``: what manifests would change on the load balancer, before they are applied."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
import yaml

from certferry.cli.options import Config, State
from certferry.cli.output import BAD, paragraph
from certferry.core.decide import decide
from certferry.core.diagnosis.cluster import translate_cluster
from certferry.core.drift.drift import Modes
from certferry.core.model.elb import State as ElbState
from certferry.core.model.kubernetes import ClusterView
from certferry.core.model.problems import Reason
from certferry.core.plan_text import new_problems, render_plan
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.manifests import assumed, objects, overlaid
from certferry.core.translate.translate import Translation
from certferry.settings import ControllerSettings, UserError, read
from certferry.settings import clusters as read_clusters

CHANGES = 2
"""Exit code: something would change."""
BLOCKING: Final[frozenset[Reason]] = frozenset(
    {
        "CertificateNotFound",
        "CertificateUnusable",
        "HostNotAllowed",
        "LimitExceeded",
        "ListenerConflict",
        "LoadBalancerNotFound",
        "NamespaceNotAllowed",
        "NoCertificate",
        "SecretNotFound",
    }
)
"""Problems by which an object or a host of it has no effect."""
_SUFFIXES = (".yaml", ".yml", ".json")


def plan(
    files: Annotated[
        list[Path], typer.Option("-f", "--filename", help="File or directory of manifests; repeatable; - is stdin.")
    ],
    every: Annotated[bool, typer.Option("--all", help="Show also the hosts and problems that do not change.")] = False,
    cluster: Annotated[
        str | None, typer.Option(help="Plan over this entry of “clusters”. Default: the only one.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Plan over an empty cluster and an empty load balancer.")
    ] = False,
    state: State = None,
    config: Config = None,
) -> int:
    """Show what manifests would change on the load balancer, and why. Exit code 2 if there is a change.

    Plans over the cluster of the settings file, else over a running `certferry up`, else over an empty cluster.
    Exit code 1 if a problem of the manifests prevents a change.
    """
    from certferry import clusters

    manifests = list(objects(_documents(files)))
    if not manifests:
        raise UserError(f"There is no Ingress, Service or Secret in {', '.join(map(str, files))}.")
    file = None if offline else clusters.locate(config, state, os.environ)
    settings = read(ControllerSettings, "controller", {}, os.environ, file)
    over_nothing = file is None or not (cluster or state or read_clusters(file))
    if over_nothing:
        base, live, options = _nothing(settings)
    else:
        base, live, options = _live(settings, cluster, state, config)
    view = overlaid(base, manifests)
    for ref, error in view.malformed.items() - base.malformed.items():
        raise UserError(f"{ref.kind} {ref.name} is malformed ({error}).")
    observed = live or assumed(view, options.default_loadbalancer)
    now = datetime.now(UTC)
    present = None if over_nothing else translate_cluster(base, observed, options, now).translation
    before = None if every or present is None else _others(present, manifests)
    translation = translate_cluster(view, observed, options, now).translation
    decision = decide(translation, observed, view.cluster_id, settings.drift if live else Modes())
    if over_nothing:
        _say(
            "Planned over an empty cluster and an empty load balancer. A load balancer named by id is assumed to exist."
        )
    lines = render_plan(decision, translation, observed, before)
    blocked = not decision.steps and any(p.reason in BLOCKING for p in new_problems(translation, present))
    if blocked:
        lines[-1] = "Nothing would change, because of the problems above."
    for line in lines:
        _say(line)
    return CHANGES if decision.steps else BAD if blocked else 0


def _others(before: Translation, manifests: list[Any]) -> Translation:
    """Return a translation without the problems of the manifests, so that these are always shown."""
    given = {(m["kind"], m["metadata"].get("namespace") or "default", m["metadata"].get("name")) for m in manifests}
    others = (p for p in before.problems if (p.object.kind, p.object.namespace, p.object.name) not in given)
    return msgspec.structs.replace(before, problems=tuple(others))


def _say(line: str) -> None:
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    for part in paragraph(line.strip(), indent[4:], indent) if line else [""]:
        typer.echo(part)


def _nothing(settings: ControllerSettings) -> tuple[ClusterView, ElbState | None, TranslateOptions]:
    from certferry.clusters.translate_options import options_of

    return ClusterView(cluster_id="the-cluster"), None, options_of(settings)


def _live(
    settings: ControllerSettings, cluster: str | None, state: Path | None, config: Path | None
) -> tuple[ClusterView, ElbState | None, TranslateOptions]:
    from certferry.cli.cluster.inputs import load_inputs

    return asyncio.run(load_inputs(settings, cluster, state, config))


def _documents(files: list[Path]) -> Iterator[Any]:
    for file in files:
        if str(file) == "-":
            yield from _parsed(file, typer.get_text_stream("stdin").read())
            continue
        paths = sorted(p for p in file.rglob("*") if p.suffix in _SUFFIXES and p.is_file()) if file.is_dir() else [file]
        for path in paths:
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
