"""A host moves between SNI certificates, and no client is shown the default one on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from certferry.core.model.elb import State
from certferry.core.model.kubernetes import ClusterView
from certferry.core.plan.plan import match, plan
from certferry.core.translate.certificate_slots import current_slots
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import translate
from tests.core.support.fixtures import BALANCER, CLUSTER, NOW, Elb, view

OPTIONS = TranslateOptions(cluster_name="test", default_loadbalancer=BALANCER.id)
A, B, M = "a.example.com", "b.example.com", "moves.example.com"
EVERY = [A, B, M]


def cluster(a: list[str], b: list[str], contents: Mapping[str, str] | None = None) -> ClusterView:
    """An Ingress with the default certificate, one with a Secret for `a` and one with a Secret for `b`."""
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}

    def ingress(name: str, hosts: list[str], entry: dict[str, Any]) -> dict[str, Any]:
        rules = [{"host": h, "http": {"paths": [path]}} for h in hosts]
        spec = {"ingressClassName": "cce", "tls": [entry], "rules": rules}
        return {"kind": "Ingress", "metadata": {"name": name}, "spec": spec}

    found = [ingress("zero", [], {"secretName": "default"})]
    found += [ingress(n, h, {"secretName": n, "hosts": h}) for n, h in (("a", a), ("b", b)) if h]
    secrets = {n: {"names": EVERY, "content": (contents or {}).get(n, n)} for n in ("a", "b")}
    return view({"objects": found, "secrets": {"default": {"names": ["other.example.com"]}, **secrets}})


def steps(wanted: ClusterView, elb: Elb) -> Any:
    elb.chains |= {s.chain.digest: s.chain for s in wanted.secrets.values() if s.chain}
    made = translate(wanted, elb.state, OPTIONS, NOW)
    elb.ids = dict(match(made.desired, elb.state, CLUSTER))
    return plan(made.desired, elb.state, CLUSTER, made.retained)


def shown(state: State, host: str) -> str:
    (listener,) = state.listeners.values()
    certificate = current_slots(listener, state.certificates).answer(host)
    assert certificate is not None
    assert certificate.chain is not None
    return certificate.chain.digest


def elb() -> Elb:
    return Elb(State(loadbalancers={BALANCER.id: BALANCER}))


MOVES = [
    pytest.param(([A, M], [B]), ([A], [B, M]), id="between two that stay"),
    pytest.param(([A, M], [B]), ([], [B, M]), id="from one that goes"),
    pytest.param(([M], [B]), ([], [B, M]), id="the only name of one that goes"),
    pytest.param(([A, M], []), ([A], [M]), id="to one that was not bound"),
    pytest.param(([A, B], [M]), ([A, M], [B]), id="two names change places"),
]


@pytest.mark.parametrize(("before", "after"), MOVES)
@pytest.mark.parametrize("abandoned_after", range(9))
def test_no_step_shows_the_host_the_default_certificate(
    before: tuple[list[str], list[str]], after: tuple[list[str], list[str]], abandoned_after: int
) -> None:
    it = elb()
    it.run(steps(cluster(*before), it))
    for step in [*steps(cluster(*after), it)[:abandoned_after], None]:
        if step:
            it.apply(step)
        assert shown(it.state, M) in ("a", "b")
    for step in steps(cluster(*after), it):
        it.apply(step)
        assert shown(it.state, M) in ("a", "b")
    assert shown(it.state, M) == ("a" if M in after[0] else "b")
    assert steps(cluster(*after), it) == ()
    assert not [c.name for c in it.state.certificates.values() if c.name.endswith("_twin")]


def test_without_a_stand_in_the_name_is_removed_before_it_is_added() -> None:
    """As `apply` goes on when the quota is used up: without the twins, and what refers to them."""
    it = elb()
    it.run(steps(cluster([A, M], [B]), it))
    lost = {s.key for s in steps(cluster([A], [B, M]), it) if s.key.startswith("@twin/")}
    assert lost
    for step in steps(cluster([A], [B, M]), it):
        if step.key not in lost and not lost & set(step.fields.get("sni_container_refs", ())):
            it.apply(step)
    assert shown(it.state, M) == "b"


def test_new_content_and_a_move_at_once() -> None:
    it = elb()
    it.run(steps(cluster([A, M], [B]), it))
    for step in steps(cluster([A], [B, M], {"b": "b2"}), it):
        it.apply(step)
        assert shown(it.state, M) in ("a", "b", "b2")
    assert shown(it.state, B) == "b2"
