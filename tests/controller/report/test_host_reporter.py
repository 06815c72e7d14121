"""Host states are derived beside the reconciles, with what handshakes show, and counted in seconds."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest

from certferry.controller.mode import ControllerMode, MonitoringOptions
from certferry.controller.report import host_reporter
from certferry.controller.report.host_reporter import HostSeconds
from certferry.core.decide import decide
from certferry.core.diagnosis import cluster
from certferry.core.diagnosis.cluster import TranslatedCluster
from certferry.core.diagnosis.host_state import HostProbe, HostState, host_states
from certferry.core.drift.drift import Modes
from certferry.core.model.kubernetes import Name
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import translate
from certferry.core.x509.expiry import Limits
from certferry.core.x509.pem import parse_chain
from certferry.runtime.metrics import Metrics
from tests.controller.conftest import System
from tests.controller.support.fake_kube import until
from tests.core.support.fixtures import BALANCER, CLUSTER, NOW, Elb, observed, view
from tests.support.certs import authority

HOST = "shop.example.com"


def sample(metrics: Metrics, series: str) -> float:
    """Return the value of `series`, 0 if absent."""
    lines = (line.rpartition(" ") for line in metrics.text().decode().splitlines())
    return sum(float(value) for name, _, value in lines if name == series)


def hosts(system: System, status: str) -> float:
    assert system.controller is not None
    return sample(system.controller.metrics, f'certferry_hosts{{status="{status}"}}')


def served(system: System, fingerprint: str) -> bool:
    return fingerprint in system.annotation("certferry.io/rotation")


async def test_a_host_is_wrong_while_handshakes_show_another_certificate(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_reporter, "TICK", 0.02)
    system.mode = ControllerMode(monitoring=MonitoringOptions(probe_interval=0.02))
    system.probe_deadline = 0.1
    pair = authority().issue(HOST)
    system.shop(pair)
    await system.start()
    await system.in_step()
    await until(lambda: hosts(system, "served") == 2)
    assert system.controller is not None
    wrong, metrics = 'certferry_host_wrong_seconds_total{reason="wrong"}', system.controller.metrics
    assert sample(metrics, wrong) == 0
    system.elb.show(str(system.our_certificate()["id"]), authority().issue("somebody.example.net"))
    await until(lambda: hosts(system, "wrong") == 1 and sample(metrics, wrong) > 0)
    await until(lambda: system.annotation("certferry.io/hosts") == f'{{"{HOST}":"wrong"}}')
    assert sample(metrics, "certferry_host_seconds_total") > sample(metrics, wrong)
    system.elb.show(str(system.our_certificate()["id"]), pair)
    await until(lambda: hosts(system, "served") == 2 and hosts(system, "wrong") == 0)
    await until(lambda: system.annotation("certferry.io/hosts") == f'{{"{HOST}":"served"}}')


async def test_a_rotation_does_not_wait_for_host_states(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    free, waiting = threading.Event(), threading.Event()

    def slow(*given: Any) -> Any:
        waiting.set()
        free.wait(30)
        return cluster.with_host_states(*given)

    monkeypatch.setattr(host_reporter, "with_host_states", slow)
    system.shop(authority().issue(HOST))
    await system.start()
    await system.in_step()
    await until(waiting.is_set)
    before = system.our_certificate()["certificate"]
    system.kube.secret("demo", "shop-tls", authority().issue(HOST))
    await until(lambda: system.our_certificate()["certificate"] != before)
    assert hosts(system, "served") == 0
    free.set()
    await until(lambda: hosts(system, "served") == 2)


async def test_a_rotation_is_reported_with_its_generation_alone(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived: list[TranslatedCluster] = []

    def recorded(generation: TranslatedCluster, *given: Any) -> Any:
        derived.append(generation)
        return cluster.with_host_states(generation, *given)

    monkeypatch.setattr(host_reporter, "with_host_states", recorded)
    monkeypatch.setattr(host_reporter, "GATHER", 0)
    monkeypatch.setattr(host_reporter, "SHARE", 0)
    system.mode = ControllerMode(monitoring=MonitoringOptions(probe_interval=0))
    system.shop(authority().issue(HOST))
    await system.start()
    await system.in_step()
    await until(lambda: hosts(system, "served") == 2)
    derived.clear()
    for _ in range(4):
        pair = authority().issue(HOST)
        chain = parse_chain(pair.certificate)
        system.kube.secret("demo", "shop-tls", pair)
        await until(partial(served, system, chain.fingerprint))
    await until(lambda: bool(derived) and derived[-1].view.secrets[Name("demo", "shop-tls")].chain == chain)
    assert len({id(generation) for generation in derived}) == len(derived)


def states(*shown: HostProbe, content: dict[str, Any] | None = None) -> tuple[HostState, ...]:
    """Return the states of two hosts, after the plan is carried out."""
    given = {
        "objects": [
            {
                "kind": "Ingress",
                "metadata": {"name": name},
                "spec": {
                    "ingressClassName": "cce",
                    "tls": [{"secretName": secret, "hosts": [f"{name}.example.com"]}],
                    "rules": [{"host": f"{name}.example.com"}],
                },
            }
            for name, secret in (("one", "one"), ("two", "two"))
        ],
        "secrets": {"one": {"names": ["one.example.com"]}, **(content or {})},
    }
    world, options = view(given), TranslateOptions(cluster_name="test", default_loadbalancer=BALANCER.id)
    elb = Elb(observed({}))
    elb.chains |= {s.chain.digest: s.chain for s in world.secrets.values() if s.chain}
    decision = decide(translate(world, elb.state, options, NOW), elb.state, CLUSTER, Modes())
    elb.ids = dict(decision.ids)
    elb.run(decision.steps)
    made = translate(world, elb.state, options, NOW)
    return host_states(world, elb.state, made, shown, NOW, Limits())


def probe(sni: str, **result: Any) -> HostProbe:
    return HostProbe(address=str(BALANCER.vip_address), port=443, sni=sni, **result)


GOOD = {"two": {"names": ["two.example.com"]}}


@pytest.mark.parametrize(
    ("shown", "content", "reason"),
    [
        ((), GOOD, None),
        ((), {}, "wrong"),  # the certificate of the other host is its substitute
        ((probe("two.example.com", error="the TLS handshake failed"),), GOOD, "nothing"),
        ((probe("two.example.com", fingerprint="ab" * 32),), GOOD, "wrong"),
        ((probe("two.example.com", error="refused", reached=False),), GOOD, "unreachable"),
        ((probe("two.example.com", fingerprint="ab" * 32, expected="of the content before"),), GOOD, None),
    ],
)
def test_the_seconds_of_a_harmed_host_count_by_reason(
    shown: tuple[HostProbe, ...], content: dict[str, Any], reason: str | None
) -> None:
    metrics = Metrics()
    seconds = HostSeconds(metrics)
    seconds.set(states(*shown, content=content), 100.0)
    seconds.count(107.0)
    seconds.set((), 110.0)
    seconds.count(200.0)
    of_all = sample(metrics, "certferry_host_seconds_total")
    assert of_all == 20.0
    wrong = {r: sample(metrics, f'certferry_host_wrong_seconds_total{{reason="{r}"}}') for r in host_reporter._HARMS}
    assert {r: s for r, s in wrong.items() if s} == ({reason: 10.0} if reason else {})
