"""Objects of the maximum size are translated and diagnosed in linear time: one Ingress delays no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from certferry.core.decide import decide
from certferry.core.diagnosis.alert_rules import AlertInput, AlertRules, evaluate_alerts
from certferry.core.diagnosis.cluster import diagnose
from certferry.core.diagnosis.inventory import watched
from certferry.core.drift.drift import Modes
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import translate
from certferry.core.x509.expiry import Limits
from tests.core.support.fixtures import BALANCER, CLUSTER, NOW, Elb, observed, view

MANY: Final = 2_000
OPTIONS: Final = TranslateOptions(cluster_name="test", default_loadbalancer=BALANCER.id)


def host(number: int) -> str:
    return f"h{number}.example.com"


def rule(number: int, path: str = "/") -> dict[str, Any]:
    service = {"service": {"name": "shop", "port": {"number": 80}}}
    return {"host": host(number), "http": {"paths": [{"path": path, "pathType": "Prefix", "backend": service}]}}


def one(rules: list[Any], tls: list[Any]) -> list[Any]:
    spec = {"ingressClassName": "cce", "rules": rules, "tls": tls}
    return [
        {"kind": "Ingress", "metadata": {"name": "large", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec}
    ]


SHAPES: Final[Mapping[str, Callable[[], list[Any]]]] = {
    "rules": lambda: one(
        [rule(n) for n in range(MANY)], [{"hosts": [host(n) for n in range(MANY)], "secretName": "a"}]
    ),
    "paths": lambda: one([rule(0, f"/{n}") for n in range(MANY)], [{"hosts": [host(0)], "secretName": "a"}]),
    "Secrets": lambda: one(
        [rule(n) for n in range(MANY)], [{"hosts": [host(n)], "secretName": f"s{n}"} for n in range(MANY)]
    ),
    "entries of one Secret": lambda: one([rule(0)], [{"hosts": [host(n)], "secretName": "a"} for n in range(MANY)]),
    "Secrets of one host": lambda: one([rule(0)], [{"hosts": [host(0)], "secretName": f"s{n}"} for n in range(MANY)]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_large_ingress_is_processed_in_linear_time(shape: str) -> None:
    secrets = {f"shop/s{n}": {"names": [host(n)]} for n in range(MANY)} | {"shop/a": {"names": [host(0)]}}
    cluster = view({"objects": SHAPES[shape](), "secrets": secrets})
    elb = Elb(observed({}))
    elb.chains |= {s.chain.digest: s.chain for s in cluster.secrets.values() if s.chain}
    decision = decide(translate(cluster, elb.state, OPTIONS, NOW), elb.state, CLUSTER, Modes())
    elb.ids = dict(decision.ids)
    elb.run(decision.steps)
    begun = time.process_time()
    diagnosis = diagnose(cluster, elb.state, OPTIONS, NOW, Limits())
    inputs = AlertInput(
        watched=watched(diagnosis),
        problems=diagnosis.translation.problems,
        states=diagnosis.states,
        view=diagnosis.view,
    )
    evaluate_alerts(inputs, AlertRules(), NOW)
    assert time.process_time() - begun < 1.5
