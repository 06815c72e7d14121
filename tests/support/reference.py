"""Reference pages that are made from the source: a heading for every setting, metric and command.

``pytest --golden tests/test_docs.py`` rewrites them; the diff is then reviewed like code.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec
import typer.main

from certferry import settings
from certferry.cli import app
from certferry.runtime.metrics import Metrics

SECTIONS: dict[str, type[msgspec.Struct]] = {
    "up": settings.UpSettings,
    "elb": settings.ElbSettings,
    "controller": settings.ControllerSettings,
    "console": settings.ConsoleSettings,
    "kube": settings.KubeServerSettings,
    "alerts": settings.AlertSettings,
    "elb.limits": settings.ElbLimits,
}


def settings_page() -> str:
    lines = [
        "# Settings",
        "",
        "A value comes from a flag, else from the environment (`CERTFERRY_<SECTION>_<NAME>`), else from the section of the settings",
        "file (`--config`, `CERTFERRY_CONFIG`), else it is the default. [Clusters](clusters.md) has the entries of `clusters`.",
    ]
    for section, kind in SECTIONS.items():
        lines += ["", f"## {section}"]
        texts = dict(_docstrings(kind))
        for field in msgspec.structs.fields(kind):
            lines += ["", f"### `{section}.{field.name}`", ""]
            said = texts.get(field.name, "")
            lines.append((f"{said} " if said else "") + f"Default: {_default(field)}.")
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    lines = [
        "# Metrics",
        "",
        "At `/metrics` of the controller, in Prometheus' form. `deploy/monitoring` has rules and a dashboard.",
    ]
    for name, kind, text, labels in metrics():
        lines += ["", f"## `{name}`", "", f"{text}. A {kind}" + (f"; labels: {labels}." if labels else ".")]
    return "\n".join(lines) + "\n"


def metrics() -> list[tuple[str, str, str, str]]:
    """Name, kind, text and labels of each metric."""
    found = []
    for metric in vars(Metrics()).values():
        if hasattr(metric, "_documentation"):
            suffix = "_total" if metric._type == "counter" else ""
            labels = ", ".join(metric._labelnames)
            found.append((metric._name + suffix, metric._type, metric._documentation.rstrip("."), labels))
    return sorted(found)


def commands_page() -> str:
    lines = [
        "# Commands",
        "",
        "`certferry --install-completion` teaches your shell to complete them. Those that list or show take `-o json` and `-o yaml`.",
        "",
        "Exit codes: 0, all is well. 1, the answer is that something is wrong, or it went wrong. 2, it cannot be done like this. 3, the state was",
        "written by a newer Certferry. 4, a cluster or load balancer did not answer, so that the answer is not complete.",
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
            text,
        ]
        options = [p for p in command.params if not _is_argument(p) and not getattr(p, "hidden", False)]
        if options:
            lines += ["", "| | |", "|---|---|"]
            lines += [f"| `{', '.join(p.opts)}` | {getattr(p, 'help', '') or ''} |" for p in options]
    return "\n".join(lines) + "\n"


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that is not hidden, by its words."""
    root: Any = typer.main.get_command(app)
    for name, command in sorted(root.commands.items()):
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield name, command
            for sub, one in sorted(command.commands.items()):
                if not one.hidden:
                    yield f"{name} {sub}", one
        elif not command.hidden:
            yield name, command


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
            said = following.value if isinstance(following, ast.Expr) else None
            if isinstance(said, ast.Constant) and isinstance(said.value, str):
                yield one.target.id, re.sub(r"\s+", " ", said.value.replace("``", "`")).strip()


def _default(field: Any) -> str:
    if field.default is msgspec.NODEFAULT:
        if field.default_factory is msgspec.NODEFAULT:
            return "none; it must be given"
        if field.default_factory in (dict, list):
            return "empty"
        return "the user's own state directory"
    if isinstance(field.default, msgspec.Struct):
        return "see below"
    if isinstance(field.default, float):
        return f"`{field.default:g}`"
    return "none" if field.default in (None, "", ()) else f"`{msgspec.json.encode(field.default).decode()}`"
