"""Golden cases of translate and plan: a cluster and an ELB in, problems and steps out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from certferry.core.claims import Options
from certferry.core.plan import match, plan
from certferry.core.translate import Translation, translate
from tests import golden
from tests.core.worlds import BALANCER, CLUSTER, NOW, Elb, observed, view

OPTIONS = Options(cluster_name="test", default_loadbalancer=BALANCER.id)


@pytest.mark.parametrize("path", golden.cases("translate"))
def test_golden(path: Path, pytestconfig: pytest.Config) -> None:
    golden.check(path, _produce, rewrite=pytestconfig.getoption("golden"))


def _produce(given: Any) -> Any:
    """Carry out the plan, then `then` on top of it, and so on; each stage shows problems and steps."""
    elb = Elb(observed(given.get("observed") or {}))
    stages = []
    for stage in (given, *given.get("then", ())):
        options = msgspec.structs.replace(OPTIONS, **given.get("options", {}))
        now = stage.get("now", NOW)
        cluster = view(stage)
        made = translate(cluster, elb.state, options, now)
        elb.chains |= {s.chain.digest: s.chain for s in cluster.secrets.values() if s.chain}
        steps = plan(made.desired, elb.state, CLUSTER, made.held)
        elb.ids = dict(match(made.desired, elb.state, CLUSTER))
        elb.run(steps)
        again = translate(cluster, elb.state, options, now)
        assert plan(again.desired, elb.state, CLUSTER, again.held) == (), "planning again must yield nothing"
        stages.append(_shown(made, [_step(s) for s in steps], elb))
    return stages


def _shown(made: Translation, steps: list[Any], elb: Elb) -> Any:
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
    return {"problems": problems, "served": served, "steps": steps, "listeners": listeners}


def _step(step: Any) -> Any:
    fields = {k: v for k, v in step.fields.items() if k not in ("description", "certferry")}
    shown = {"do": f"{step.verb} {step.kind} {step.name}".strip(), "why": step.why}
    if fields:
        shown["fields"] = msgspec.to_builtins(fields)
    if step.material:
        shown["content"] = step.material
    return shown
