"""Golden cases of the host states: a cluster and an ELB in, the state of each host out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from certferry.core.decide import decide
from certferry.core.diagnosis.host_state import HostProbe, HostState, host_states
from certferry.core.drift.drift import Modes
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import translate
from certferry.core.x509.expiry import Limits
from tests.core.support.fixtures import BALANCER, CLUSTER, NOW, Elb, observed, view
from tests.support import golden


@pytest.mark.parametrize("path", golden.cases("host-state"))
def test_golden(path: Path, pytestconfig: pytest.Config) -> None:
    golden.check(path, _produce, rewrite=pytestconfig.getoption("golden"))


def _produce(given: Any) -> Any:
    """Return the states once the plan is carried out, or as `observed` is if `plan` is false."""
    elb = Elb(observed(given.get("observed") or {}))
    said = {"cluster_name": "test", "default_loadbalancer": BALANCER.id, **given.get("options", {})}
    options = msgspec.convert(said, TranslateOptions)
    cluster = view(given)
    elb.chains |= {s.chain.digest: s.chain for s in cluster.secrets.values() if s.chain}
    if given.get("plan", True):
        decision = decide(translate(cluster, elb.state, options, NOW), elb.state, CLUSTER, Modes())
        elb.ids = dict(decision.ids)
        elb.run(decision.steps)
    made = translate(cluster, elb.state, options, NOW)
    shown = [_probe(place, said) for place, said in given.get("shown", {}).items()]
    rejections = given.get("rejections", {})
    states = host_states(cluster, elb.state, made, shown, NOW, Limits(), rejections)
    assert states == tuple(sorted(states, key=lambda s: s.key))
    return {_key(state): _shown(state) for state in states}


def _probe(place: str, said: Any) -> HostProbe:
    """`place` is “PORT/SNI”; `said` a fingerprint, or an error in a mapping."""
    port, _, sni = place.partition("/")
    result = {"address": BALANCER.vip_address, "port": int(port), "sni": sni}
    if isinstance(said, str):
        said = {"fingerprint": said}
    return msgspec.convert({**result, **said}, HostProbe)


def _key(state: HostState) -> str:
    key = state.key
    return f"{key.address}:{key.port} {key.sni or '(no name)'} {key.key_kind or '-'}"


def _shown(state: HostState) -> Any:
    wanted, bound = state.wanted, state.bound
    rows: dict[str, Any] = {
        "status": state.status,
        "sentence": state.sentence,
        "owner": str(state.owner) if state.owner else None,
        "claims": [str(name) for name in state.claims],
        "wanted": f"{wanted.source}: {wanted.reason or 'ok'}" if wanted else None,
        "bound": f"{bound.source} ({bound.slot})" if bound else None,
        "why": bound.why if bound else None,
        "desired": str(state.desired.source) if state.desired and not state.in_step else None,
        "others": [f"{w.source}: {w.reason or 'ok'}" for w in state.other_wants],
        "problems": [
            f"{p.object.kind} {p.object.namespace}/{p.object.name}: {p.reason}: {p.sentence} -> {p.action}"
            for p in state.problems
        ],
        "next": state.next_action,
    }
    return {key: value for key, value in rows.items() if value}
