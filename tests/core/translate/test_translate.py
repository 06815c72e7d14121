"""Golden cases of translate and plan: a cluster and an ELB in, problems and steps out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from certferry.core.decide import decide
from certferry.core.drift.adopt import proposals
from certferry.core.drift.detect_unmarked import NOTHING, Baseline
from certferry.core.drift.drift import Modes
from certferry.core.model.elb import State
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import Translation, translate
from tests.core.support.fixtures import BALANCER, CLUSTER, NOW, Elb, observed, tampered, view
from tests.support import golden


@pytest.mark.parametrize("path", golden.cases("translate"))
def test_golden(path: Path, pytestconfig: pytest.Config) -> None:
    golden.check(path, _produce, rewrite=pytestconfig.getoption("golden"))


def _produce(given: Any) -> Any:
    """Carry out the plan, then `then` on top of it, and so on; each stage shows problems and steps."""
    elb = Elb(observed(given.get("observed") or {}))
    modes = msgspec.convert(given.get("drift", {}), Modes)
    said = {"cluster_name": "test", "default_loadbalancer": BALANCER.id, **given.get("options", {})}
    options = msgspec.convert(said, TranslateOptions)
    known = NOTHING
    stages = []
    before = given
    for change in (given, *given.get("then", ())):
        # with `keep`, what a later stage does not say stays as it was
        stage = {**before, **change} if change.get("keep") else change
        before = {k: v for k, v in stage.items() if k not in ("then", "tamper", "keep")}
        elb.state = tampered(elb.state, change.get("tamper", ()))
        elb.state = msgspec.structs.replace(elb.state, compromised=frozenset(stage.get("compromised", ())))
        now = stage.get("now", NOW)
        cluster = view(stage)
        made = translate(cluster, elb.state, options, now)
        elb.chains |= {s.chain.digest: s.chain for s in cluster.secrets.values() if s.chain}
        decision = decide(made, elb.state, CLUSTER, modes, known)
        before_plan = elb.state
        elb.ids = dict(decision.ids)
        elb.run(decision.steps)
        again = translate(cluster, elb.state, options, now)
        settled = decide(again, elb.state, CLUSTER, modes)
        assert settled.steps == (), "planning again must yield nothing"
        known = Baseline(ids=settled.ids, state=elb.state)
        drifts = [f"{d.kind}, {d.mode}: {d.sentence}" for d in decision.drifts]
        found = proposals(decision.drifts, cluster, before_plan, made, options, now)
        adopted = {str(it.ingress): dict(it.annotations) for it in found}
        stages.append(_shown(made, [_step(s) for s in decision.steps], elb, drifts, adopted))
    return stages


def _shown(made: Translation, steps: list[Any], elb: Elb, drifts: list[str], adopted: Any) -> Any:
    problems = [f"{p.object.kind} {p.object.name}: {p.reason}: {p.sentence}" for p in made.problems]
    served = {
        f"{s.host or '(no name)'}:{s.port} {s.kind}".strip(): s.fingerprint
        for it in made.status.values()
        for s in it.served
    }
    listeners = {
        f"{it.protocol}:{it.protocol_port}": {
            "default": it.default_tls_container_ref,
            "sni": list(it.sni_container_refs or ()),
        }
        for it in elb.state.listeners.values()
    }
    shown = {"problems": problems, "served": served, "steps": steps, "listeners": listeners}
    if drifts:
        shown["drift"] = drifts
    if adopted:
        shown["adopted"] = adopted
    if order := _order(elb.state):
        shown["order"] = order
    return shown


def _order(state: State) -> list[str]:
    """The policies with numbers as the ELB asks them."""
    numbered = [p for p in state.policies.values() if p.priority is not None]
    return [
        f"{p.priority} " + " ".join(f"{r.compare_type} {r.value}" for r in p.rules)
        for p in sorted(numbered, key=lambda p: (p.listener_id, p.priority or 0))
    ]


def _step(step: Any) -> Any:
    fields = {k: v for k, v in step.fields.items() if k not in ("description", "certferry")}
    shown = {"do": f"{step.verb} {step.kind} {step.name}".strip(), "why": step.why}
    if fields:
        shown["fields"] = msgspec.to_builtins(fields)
    if step.material:
        shown["content"] = step.material
    return shown
