"""A plan of many steps, carried out by the bulk call of a real ELB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from certferry.controller.sync.apply import ApplyContext, Outcome, apply
from certferry.controller.sync.observed_state import ObservedState
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import Name, Secret, parse_secret
from certferry.core.plan.steps import Step
from certferry.kube.client.client import KubeClient
from certferry.runtime.metrics import Metrics
from tests.e2e.support.objects import pair_secret
from tests.elb.support.server import Elb, connected, serving, settings_in
from tests.support.certs import Pair, authority


class Secrets:
    """The Secrets of a cluster, as the informer and the API server give them."""

    def __init__(self) -> None:
        self.items: dict[Name, dict[str, Any]] = {}
        self.reads = 0

    def add(self, name: str, pair: Pair) -> Name:
        body = pair_secret("demo", name, pair)
        body["metadata"] |= {"uid": name, "namespace": "demo", "resourceVersion": "1"}
        self.items[Name("demo", name)] = body
        return Name("demo", name)

    def secret(self, name: Name) -> Secret | None:
        return parse_secret(self.items[name])[0] if name in self.items else None

    async def get(self, _kind: Any, name: str, namespace: str) -> dict[str, Any]:
        self.reads += 1
        return self.items[Name(namespace, name)]


@pytest.fixture
def elb(tmp_path: Path) -> Iterator[Elb]:
    with serving(settings_in(tmp_path)) as running:
        yield running


def step(kind: Any, key: str, parent: str | None = None, material: str | None = None, **fields: Any) -> Step:
    return Step(verb="create", kind=kind, key=key, fields=fields, why="test", parent=parent, material=material)


def pool(name: str, loadbalancer: str, algorithm: str = "ROUND_ROBIN") -> Step:
    fields = {"loadbalancer_id": loadbalancer, "protocol": "HTTP", "lb_algorithm": algorithm}
    return step("pool", f"@pool/{name}", name=name, **fields)


def member(pool_name: str, port: int) -> Step:
    where: dict[str, Any] = {"address": "127.0.0.1", "protocol_port": port}
    return step("member", f"{pool_name}:{port}", parent=f"@pool/{pool_name}", **where)


async def applied(elb: Elb, steps: list[Step], secrets: Secrets, material: dict[str, Name]) -> tuple[Outcome, Any]:
    observed = ObservedState()
    observed.observed(State(), observed.begin())
    async with connected(elb.controller) as client:
        context = ApplyContext(
            elb=client, kube=cast(KubeClient, secrets), observed=observed, metrics=Metrics(), secret=secrets.secret
        )
        return await apply(steps, {}, material, context), observed.state


async def test_a_rejected_step_takes_only_those_with_it_that_need_it(elb: Elb) -> None:
    lb = elb.admin.make("loadbalancer")["id"]
    steps = [pool("a", lb), member("a", 1), pool("bad", lb, "none"), member("bad", 2), pool("b", lb), member("b", 3)]
    outcome, _ = await applied(elb, [*steps, pool("c", lb), member("c", 4)], Secrets(), {})
    assert [failure.step.key for failure in outcome.failures] == ["@pool/bad"]
    assert "lb_algorithm" in outcome.failures[0].sentence
    assert [skipped.key for skipped in outcome.skipped] == ["bad:2"]
    assert {one["name"] for one in elb.admin("GET", "/pools").body["pools"]} == {"a", "b", "c"}
    assert len(outcome.done) == 6


async def test_certificates_go_with_the_content_that_the_plan_is_for(elb: Elb) -> None:
    secrets, material, steps = Secrets(), dict[str, Name](), list[Step]()
    for number in range(12):
        host = f"h{number}.example"
        name = secrets.add(f"tls-{number}", authority().issue(host))
        secret = secrets.secret(name)
        assert secret is not None
        assert secret.chain is not None
        material[secret.chain.digest] = name
        steps.append(step("certificate", f"@certificate/tls-{number}", material=secret.chain.digest, domain=host))
    secrets.add("tls-3", authority().issue("h3.example"))  # newer than the plan
    outcome, state = await applied(elb, steps, secrets, material)
    assert [superseded.key for superseded in outcome.superseded] == ["@certificate/tls-3"]
    assert len(outcome.done) == 11
    digests = {one["certferry"]["digest"] for one in elb.admin("GET", "/certificates").body["certificates"]}
    assert digests == material.keys() - {steps[3].material}
    assert {certificate.chain.digest for certificate in state.certificates.values()} == digests
    assert secrets.reads == 12


class Renewed(Secrets):
    """Secrets of which one is renewed directly after it was read."""

    async def get(self, kind: Any, name: str, namespace: str) -> dict[str, Any]:
        read = await super().get(kind, name, namespace)
        if name == "tls-9":
            self.add(name, authority().issue("renewed.example"))
        return read


async def test_content_that_was_read_ahead_is_not_written_over_a_newer_one(
    elb: Elb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certferry.controller.sync.apply._GROUP", 4)
    secrets, material, steps = Renewed(), dict[str, Name](), list[Step]()
    for number in range(12):
        name = secrets.add(f"tls-{number}", authority().issue(f"h{number}.example"))
        secret = secrets.secret(name)
        assert secret is not None
        assert secret.chain is not None
        material[secret.chain.digest] = name
        steps.append(step("certificate", f"@certificate/tls-{number}", material=secret.chain.digest))
    outcome, _ = await applied(elb, steps, secrets, material)
    assert [superseded.key for superseded in outcome.superseded] == ["@certificate/tls-9"]
    assert len(outcome.done) == 11
    assert secrets.reads == 12


async def test_a_plan_longer_than_a_call_keeps_its_references(elb: Elb) -> None:
    lb = elb.admin.make("loadbalancer")["id"]
    steps = [pool(f"p{number}", lb) for number in range(210)]
    outcome, _ = await applied(elb, [*steps, member("p0", 1), member("p209", 2)], Secrets(), {})
    assert len(outcome.done) == 212
    assert not outcome.failures
