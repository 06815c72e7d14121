"""Why a host is shown its certificate, as golden cases: the same inputs as translate's, with an Ingress to explain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from certferry.cli.cluster.explain import lines
from certferry.core.decide import decide
from certferry.core.diagnosis.cluster import diagnose
from certferry.core.diagnosis.explain import explain
from certferry.core.drift.drift import Modes
from certferry.core.model.kubernetes import Name
from certferry.core.plan_text import render_plan
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import translate
from certferry.core.x509.expiry import Limits
from tests.core.support.fixtures import BALANCER, CLUSTER, NOW, Elb, observed, view
from tests.support import golden


@pytest.mark.parametrize("path", golden.cases("explain"))
def test_golden(path: Path, pytestconfig: pytest.Config) -> None:
    golden.check(path, _produce, rewrite=pytestconfig.getoption("golden"))


def _produce(given: Any) -> Any:
    """What `plan` says of the way to it, and what `explain` says of each Ingress before and after."""
    elb = Elb(observed(given.get("observed") or {}))
    options = msgspec.convert({"cluster_name": "test", "default_loadbalancer": BALANCER.id}, TranslateOptions)
    cluster = view(given)
    made = translate(cluster, elb.state, options, NOW)
    decision = decide(made, elb.state, CLUSTER, Modes())
    plan = render_plan(decision, made, elb.state)

    def said() -> dict[str, list[str]]:
        current = diagnose(cluster, elb.state, options, NOW, Limits())
        found = {name: explain(current, Name("shop", name)) for name in given["explain"]}
        return {name: list(lines(it)) if it else ["(none)"] for name, it in found.items()}

    before = said()
    elb.chains |= {s.chain.digest: s.chain for s in cluster.secrets.values() if s.chain}
    elb.ids = dict(decision.ids)
    elb.run(decision.steps)
    return {"plan": plan, "before": before, "after": said()}
