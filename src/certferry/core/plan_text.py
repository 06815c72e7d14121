"""Render a plan as text: each change on the ELB and its reason, with names in place of ids and without keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from certferry.core.decide import Decision
from certferry.core.model.elb import Rule, State
from certferry.core.model.problems import Problem
from certferry.core.plan.steps import Step, rule_text
from certferry.core.translate.translate import Translation

_SIGNS: Final = {"create": "+", "update": "~", "delete": "-"}
_KINDS: Final = {"policy": "forwarding policy", "healthmonitor": "health check", "loadbalancer": "load balancer"}
_SILENT: Final = ("certferry", "description", "name", "type", "loadbalancer_id", "listener_id", "pool_id", "action")
"""Fields that repeat the title."""


def render_plan(
    decision: Decision, translation: Translation, observed: State, before: Translation | None = None
) -> list[str]:
    """Return the lines. With `before`, hosts and problems that it has too are left out."""
    names = _names(translation, observed, decision.ids)
    lines = [line for step in decision.steps for line in _step(step, names)]
    lines += [""] if lines else []
    same = set(_served(before, names)) if before else frozenset()
    lines += [line for line in _served(translation, names) if line not in same]
    lines += [f"! drift: {d.sentence}" for d in decision.drifts]
    lines += [
        f"! {p.object.kind} {p.object.namespace}/{p.object.name}: {p.reason}: {p.sentence}"
        for p in new_problems(translation, before)
    ]
    return [*lines, *([""] if lines else []), summary(decision.steps)]


def new_problems(translation: Translation, before: Translation | None) -> tuple[Problem, ...]:
    """Return the problems that `before` does not have."""
    old = {(p.object.kind, p.object.namespace, p.object.name, p.sentence) for p in before.problems} if before else ()
    return tuple(
        p for p in translation.problems if (p.object.kind, p.object.namespace, p.object.name, p.sentence) not in old
    )


def summary(steps: Sequence[Step]) -> str:
    """Return the counts of a plan as one line."""
    if not steps:
        return "Nothing would change."
    counts = Counter(step.verb for step in steps)
    return f"{counts['create']} to create, {counts['update']} to update, {counts['delete']} to delete."


def title(step: Step) -> str:
    """Return a step as “create listener k8s_HTTPS_443”."""
    return f"{step.verb} {_KINDS.get(step.kind, step.kind)} {step.name or step.key}"


def _step(step: Step, names: Mapping[str, str]) -> Iterator[str]:
    where = f" of {names.get(step.parent, step.parent)}" if step.parent else ""
    yield f"{_SIGNS[step.verb]} {title(step)}{where}: {step.why}"
    if step.material:
        yield f"    content: {step.material[:16]}"
    for field, value in sorted(step.fields.items()):
        if field not in _SILENT and not (step.kind == "member" and field in ("address", "protocol_port")):
            yield f"    {field}: {_text(field, value, names)}"


def _served(translation: Translation, names: Mapping[str, str]) -> Iterator[str]:
    """Yield the certificate that each host gets after the plan."""
    seen = set()
    for status in translation.status.values():
        for served in status.served:
            host = served.host or "(clients that name no host)"
            kind = {"EC": ", if it takes ECDSA,", "RSA": ", if it takes RSA alone,"}.get(served.kind, "")
            line = f"= {host} on port {served.port}{kind} gets {names.get(served.certificate, served.certificate)}"
            if line not in seen:
                seen.add(line)
                yield line


def _names(translation: Translation, observed: State, ids: Mapping[str, str]) -> Mapping[str, str]:
    """Return names by key and by id."""
    names: dict[str, str] = {}
    for world in (observed, translation.desired):
        for part in (world.loadbalancers, world.certificates, world.listeners, world.pools):
            names |= {ref: it.name or ref for ref, it in part.items()}
    names |= {f"@twin/{key.removeprefix('@certificate/')}": f"{n} (stand-in)" for key, n in names.items()}
    return names


def _text(field: str, value: Any, names: Mapping[str, str]) -> str:
    if field == "rules":
        return " and ".join(rule_text(msgspec.convert(rule, Rule)) for rule in value)
    if isinstance(value, list):
        return ", ".join(_text("", v, names) for v in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{k} {_text('', v, names)}" for k, v in sorted(value.items()))
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value in (None, "") else names.get(value, str(value)) if isinstance(value, str) else str(value)
