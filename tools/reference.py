"""Write the reference pages of docs/ from the code: settings, metrics, commands, annotations, reasons.

``make reference`` runs it; a test fails while a page differs. The explanations of annotations and reasons come from
tools/reference_texts, all facts from the code.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import typer.main

from certferry import settings
from certferry.cli import app
from certferry.cli.lazy import LazyGroup
from certferry.controller.report import event_recorder
from certferry.core.diagnosis import alert
from certferry.core.drift.drift import Modes
from certferry.core.model import kubernetes, problems
from certferry.core.translate import ingress_annotations
from certferry.core.translate.services import listener_annotations, pool_annotations
from certferry.runtime.metrics import Metrics
from certferry.settings import renamed

ROOT: Final = Path(__file__).resolve().parents[1]
TEXTS: Final = ROOT / "tools/reference_texts"
FIRST_LINE: Final = "<!-- Generated from the code by `make reference`; do not edit. -->"

SECTIONS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "up": settings.UpSettings,
    "elb": settings.ElbSettings,
    "controller": settings.ControllerSettings,
    "console": settings.ConsoleSettings,
    "kube": settings.KubeServerSettings,
    "alerts": settings.AlertSettings,
    "controller.drift": Modes,
    "elb.envoy_options": settings.EnvoyOptions,
    "elb.limits": settings.ElbLimits,
    "elb.remote_envoys": settings.RemoteEnvoys,
}


def settings_page() -> str:
    """Return settings.md: every setting with its docstring and default."""
    lines = [
        FIRST_LINE,
        "",
        "# Settings",
        "",
        "The first of these that has a value decides: a flag, the environment (`CERTFERRY_<SECTION>_<NAME>`), the section of",
        "the settings file (`--config`, `CERTFERRY_CONFIG`), the default. [Clusters](clusters.md) describes the entries of",
        "`clusters`. In the environment, lists and nested settings are JSON. A setting of version 0.1 under its old name is an",
        "error that gives the new name.",
    ]
    for section, kind in SECTIONS.items():
        lines += ["", f"## {section}"]
        texts = dict(_docstrings(kind))
        for field in msgspec.structs.fields(kind):
            lines += ["", f"### `{section}.{field.name}`", ""]
            text = texts.get(field.name, "")
            lines += _wrapped((f"{text} " if text else "") + f"Default: {_default(field)}.")
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    """Return metrics.md: every metric with its help text, type and labels."""
    lines = [
        FIRST_LINE,
        "",
        "# Metrics",
        "",
        "The controller serves these at `/metrics` for Prometheus. `deploy/monitoring` has alerting rules and a dashboard.",
    ]
    for name, kind, text, labels in metrics():
        lines += ["", f"## `{name}`", ""]
        lines += _wrapped(f"{text}. Type: {kind}" + (f"; labels: {labels}." if labels else "."))
    return "\n".join(lines) + "\n"


def metrics() -> list[tuple[str, str, str, str]]:
    """Return name, type, help text and labels of each metric, sorted."""
    rows = []
    for metric in vars(Metrics()).values():
        if hasattr(metric, "_documentation"):
            suffix = "_total" if metric._type == "counter" else ""
            labels = ", ".join(metric._labelnames)
            rows.append((metric._name + suffix, metric._type, metric._documentation.rstrip("."), labels))
    return sorted(rows)


def commands_page() -> str:
    """Return commands.md: every command with its help text and options."""
    lines = [
        FIRST_LINE,
        "",
        "# Commands",
        "",
        "`certferry --install-completion` installs completion for your shell. Commands that list or show take `-o json` and",
        "`-o yaml`.",
        "",
        "| exit code | meaning |",
        "|---|---|",
        "| 0 | success, no problems |",
        "| 1 | problems, or the command failed |",
        "| 2 | invalid arguments or settings |",
        "| 3 | a newer Certferry wrote the state directory |",
        "| 4 | incomplete: a cluster or load balancer did not answer |",
    ]
    for path, command in commands():
        usage = " ".join(_argument(p) for p in command.params if _is_argument(p))
        text = inspect.cleandoc(command.help or "")
        lines += [
            "",
            f"## `certferry {path}`",
            "",
            f"`certferry {path} {usage}`".replace(" `", "`"),
            "",
            *_wrapped(text),
        ]
        options = [p for p in command.params if not _is_argument(p) and not getattr(p, "hidden", False)]
        if options:
            lines += ["", "| option | meaning |", "|---|---|"]
            lines += [f"| `{', '.join(p.opts)}` | {getattr(p, 'help', '') or ''} |" for p in options]
    return "\n".join(lines) + "\n"


def commands() -> Iterator[tuple[str, Any]]:
    """Yield the path and object of each command that is not hidden."""
    root: Any = typer.main.get_command(app)
    for name, command in sorted(_subcommands(root).items()):
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield name, command
            for sub, one in sorted(_subcommands(command).items()):
                if not one.hidden:
                    yield f"{name} {sub}", one
        elif not command.hidden:
            yield name, command


def _subcommands(group: Any) -> dict[str, Any]:
    if isinstance(group, LazyGroup):
        return {name: group.load(name) for name in group.entries}
    return dict(group.commands)


def _is_argument(parameter: Any) -> bool:
    return getattr(parameter, "param_type_name", "") == "argument"


def _argument(parameter: Any) -> str:
    name = str(parameter.name).upper().replace("_", "-")
    return name if parameter.required else f"[{name}]"


def _docstrings(kind: type[Any]) -> Iterator[tuple[str, str]]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    body = tree.body[0]
    assert isinstance(body, ast.ClassDef)
    for one, following in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            docstring = following.value if isinstance(following, ast.Expr) else None
            if isinstance(docstring, ast.Constant) and isinstance(docstring.value, str):
                yield one.target.id, re.sub(r"\s+", " ", docstring.value.replace("``", "`")).strip()


def _default(field: Any) -> str:
    if field.default is msgspec.NODEFAULT:
        if field.default_factory is msgspec.NODEFAULT:
            return "none; required"
        if field.default_factory in (dict, list):
            return "empty"
        return "the user's state directory"
    if isinstance(field.default, msgspec.Struct):
        return "see below"
    if isinstance(field.default, float):
        return f"`{field.default:g}`"
    return "none" if field.default in (None, "", ()) else f"`{msgspec.json.encode(field.default).decode()}`"


def annotations_page() -> str:
    """Return annotations.md: the explanations, with the accepted values as the readers of the code report them."""
    values = dict(_accepted_values())
    lines: list[str] = []
    example: list[str] = []
    for line in (TEXTS / "annotations.md").read_text().splitlines():
        key, _, value = line.partition(": ")
        if heading := re.fullmatch(r"### `([^`]+)`", line):
            name, lines, example = heading[1], [*lines, *example], []
            lines += [line, "", "| value | default | sets | if removed |", "|---|---|---|---|"]
            row = [_cell(values.get(name, "written by Certferry"))]
        elif key in ("default", "sets", "removed"):
            row.append(value)
            if key == "removed":
                lines.append(f"| {' | '.join(row)} |")
        elif key == "example":
            example = [] if value.startswith("written") else ["```yaml", f"{name}: {value}", "```", ""]
        elif line.startswith("## ") and example:
            lines, example = [*lines, *example, line], []
        elif line or not lines[-1].startswith("|---"):
            lines.append(line)
    lines += ["", *example[:-1]]
    rest = {
        "Accepted, without effect": [f"`elb.{key}`" for key in ingress_annotations.INERT],
        "Not supported yet": [
            f"`elb.{key}`"
            for key in (*(f"{p}*" for p in ingress_annotations.NOT_YET_PREFIXES), *ingress_annotations.NOT_YET)
        ],
    }
    for title, keys in rest.items():
        lines += ["", f"## {title}", "", *_wrapped(f"{', '.join(sorted(keys))}.")]
    return "\n".join([FIRST_LINE, "", *lines]) + "\n"


def annotation_keys() -> list[str]:
    """Return the full key of each annotation that the code reads or writes."""
    keys = [f"{ingress_annotations.PREFIX}{row.key}" for row in ingress_annotations.ANNOTATIONS]
    keys += [row.key for row in (*ingress_annotations.OWN, *listener_annotations.OWN)]
    keys += [f"{ingress_annotations.PREFIX}{key}" for key in ingress_annotations.OF_SERVICES]
    keys += [getattr(kubernetes, name) for name in dir(kubernetes) if name.endswith("_ANNOTATION")]
    return sorted({*keys, "kubernetes.io/ingress.class"})


def _accepted_values() -> Iterator[tuple[str, str]]:
    own = (*ingress_annotations.OWN, *listener_annotations.OWN, *listener_annotations.OF_LISTENERS)
    for row in (*ingress_annotations.ANNOTATIONS, *own):
        key = row.key if "/" in row.key else f"{ingress_annotations.PREFIX}{row.key}"
        yield key, _expected(row.read)
    yield "kubernetes.io/ingress.class", "name of the class, `cce`"
    for name in ingress_annotations.OF_SERVICES:
        key = f"{ingress_annotations.PREFIX}{name}"
        meta = kubernetes.Meta(
            namespace="", name="", uid="", created=datetime.fromtimestamp(0, UTC), annotations={key: "\0"}
        )
        service = kubernetes.Service(meta=meta, type="ClusterIP", ports=())
        read = pool_annotations.read(service, kubernetes.ServicePort(name="", port=80))
        for problem in read.problems:
            yield key, problem.sentence.partition(" is not ")[2].rstrip(".")


def _expected(read: Callable[[str], Any]) -> str:
    """Return the values that a reader accepts, from the error of an invalid value."""
    for invalid in ("", "a,b,c,d,e,f"):
        try:
            read(invalid)
        except ValueError as expected:
            return str(expected)
    return "text"


def _cell(expected: str) -> str:
    before, choice, options = expected.partition("one of ")
    if choice and not before:
        return ", ".join(f"`{option}`" for option in options.split(", "))
    return expected.replace("|", "\\|")


def reasons_page() -> str:
    """Return problems.md: each reason with its facts of the code and its explanation."""
    old = {new: name for name, new in renamed.RENAMED_REASONS.items()}
    actions = dict(_check_actions())
    lines: list[str] = [FIRST_LINE, ""]
    for line in (TEXTS / "reasons.md").read_text().splitlines():
        lines.append(line)
        if line.startswith("## "):
            reason = line.removeprefix("## ")
            facts = []
            if reason in actions:
                facts.append(f"Check of a certificate, default action {actions[reason]}.")
            if reason in problems.HOURLY:
                facts.append("Repeated every hour while it lasts.")
            if reason in alert.NAMES:
                urgency = alert.URGENCIES[reason]  # type: ignore[index]
                facts.append(f"Also an alert, {urgency}: [runbook]({alert.runbook(reason)}).")
            if reason in old:
                facts.append(f"`{old[reason]}` in version 0.1.")
            if facts:
                lines += ["", *textwrap.wrap(f"*{' '.join(facts)}*", 120, break_on_hyphens=False)]
    return "\n".join(lines) + "\n"


def reasons() -> list[str]:
    """Return each reason that an Event can have, sorted."""
    return sorted({*problems.REASONS, *event_recorder.REASONS})


def _check_actions() -> Iterator[tuple[str, str]]:
    """Yield the reason of each check with its severities, read from the calls of ``Finding``."""
    severities: dict[str, set[str]] = {}
    for path in sorted((ROOT / "src/certferry/core/checks").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                given = {keyword.arg: keyword.value for keyword in node.keywords}
                reason, severity = given.get("reason"), given.get("severity", ast.Constant("refuse"))
                if isinstance(reason, ast.Constant):
                    each = {n.value for n in ast.walk(severity) if isinstance(n, ast.Constant)}
                    severities.setdefault(str(reason.value), set()).update(s for s in each if isinstance(s, str))
    for name, kinds in severities.items():
        yield name, " or ".join(f"`{kind}`" for kind in sorted(kinds))


def _wrapped(text: str) -> list[str]:
    """Return `text` in lines of at most 120 characters; its own line breaks and blocks stay."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        folded = textwrap.wrap(paragraph, 120, break_long_words=False, break_on_hyphens=False)
        lines += [paragraph] if paragraph.startswith(" ") or not folded else folded
    return lines


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "annotations.md": annotations_page,
    "commands.md": commands_page,
    "metrics.md": metrics_page,
    "problems.md": reasons_page,
    "settings.md": settings_page,
}

if __name__ == "__main__":
    for page, made in PAGES.items():
        (ROOT / "docs" / page).write_text(made())
