from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from certferry.core.envoy import CLUSTERS, LISTENERS, ROUTES, Options, Snapshot, re2_problem, snapshot
from certferry.core.model.elb import Certificate, Listener, State
from tests.elb.support.states import state, written_chain
from tests.support import golden

OPTIONS = Options()


@pytest.mark.parametrize("path", golden.cases("envoy"))
def test_a_state_becomes_resources(path: Path, request: pytest.FixtureRequest) -> None:
    golden.check(path, _resources, rewrite=request.config.getoption("--golden"))


@pytest.mark.parametrize("path", golden.cases("envoy"))
def test_the_order_of_objects_changes_no_version(path: Path) -> None:
    written = yaml.safe_load(path.read_text())
    turned = {kind: dict(reversed(objects.items())) for kind, objects in written.items()}
    again = copy.deepcopy(written)
    assert _versions(_made(written)) == _versions(_made(turned)) == _versions(_made(again))


def test_new_content_changes_its_slot_and_nothing_else() -> None:
    before = _large(20)
    renewed = _renewed(before, "c7", "second")
    old, new = snapshot(before, OPTIONS), snapshot(renewed, OPTIONS)
    assert _changed(old, new) == {"web/c7.example.com/0"}
    assert new.messages[LISTENERS]["web"] is old.messages[LISTENERS]["web"]


def test_choosing_another_certificate_changes_secrets_and_nothing_else() -> None:
    before = _large(3)
    listener = before.listeners["web"]
    other = Certificate(id="other", chain=written_chain("other", {}), domain=("c1.example.com",))
    chosen = msgspec.structs.replace(listener, sni_container_refs=("c0", "other", "c2"))
    after = State(
        loadbalancers=before.loadbalancers,
        listeners={"web": chosen},
        certificates={**before.certificates, "other": other},
        pools=before.pools,
    )
    assert _changed(snapshot(before, OPTIONS), snapshot(after, OPTIONS)) == {"web/c1.example.com/0"}


def test_an_additional_name_adds_a_filter_chain_and_changes_no_other() -> None:
    before = _large(3)
    wider = msgspec.structs.replace(before.certificates["c1"], domain=("also.example.com", "c1.example.com"))
    after = msgspec.structs.replace(before, certificates={**before.certificates, "c1": wider})
    old, new = snapshot(before, OPTIONS), snapshot(after, OPTIONS)
    assert _changed(old, new) == {"web/also.example.com/0", "web"}
    chains = [
        {c.body["name"]: c.version for c in s.messages[LISTENERS]["web"].body["filter_chains"]} for s in (old, new)
    ]
    assert {name: chains[1][name] for name in chains[0]} == chains[0]


def test_a_host_called_default_does_not_take_the_default_slot() -> None:
    world = _large(0)
    certificate = Certificate(id="d", chain=written_chain("d", {}), domain=("default", "client-ca"))
    listener = msgspec.structs.replace(world.listeners["web"], sni_container_refs=("d",))
    made = snapshot(
        msgspec.structs.replace(
            world, listeners={"web": listener}, certificates={**world.certificates, "d": certificate}
        ),
        OPTIONS,
    )
    held = {name: secret.chain.common_name for name, secret in made.secrets.items()}
    assert held == {"web/default/0": "main", "web/default./0": "d", "web/client-ca./0": "d"}


def test_one_rotation_among_a_thousand_certificates_costs_milliseconds() -> None:
    world = _large(1000)
    snapshot(world, OPTIONS)
    spent = []
    for turn in range(15):
        world = _renewed(world, f"c{turn}", f"turn {turn}")
        start = time.process_time()
        snapshot(world, OPTIONS)
        spent.append(time.process_time() - start)
    # 1 to 2 ms on a desktop; building all of it anew takes over 20
    assert sorted(spent)[len(spent) // 2] < 0.01


@pytest.mark.parametrize(
    "pattern", ["(?=a)", "(?!a)", "(?<=a)", "(?<!a)", r"(a)\1", "a++", "a{2}+", "(?>a)", "a{1001}", "("]
)
def test_expressions_that_envoy_rejects_are_detected(pattern: str) -> None:
    assert re2_problem(pattern)


@pytest.mark.parametrize(
    "pattern", ["/a", "^/(a|b)+$", r"/\d+\.html", "/[a-z]{2,5}", "(?i)/A", "(?P<n>x)", r"\\1", "a+?"]
)
def test_expressions_that_envoy_accepts_are_unchanged(pattern: str) -> None:
    assert re2_problem(pattern) == ""


def _made(written: Any) -> Snapshot:
    return snapshot(state(written, written_chain), OPTIONS)


def _resources(written: Any) -> Any:
    return {kind.rpartition(".")[2]: some for kind, some in _made(written).plain().items() if some}


def _versions(made: Snapshot) -> dict[str, dict[str, str]]:
    kinds = {kind: {n: m.version for n, m in some.items()} for kind, some in made.messages.items()}
    return kinds | {"secrets": {n: s.version for n, s in made.secrets.items()}}


def _changed(old: Snapshot, new: Snapshot) -> set[str]:
    before, after = _versions(old), _versions(new)
    return {
        name
        for kind in after
        for name in {*before[kind], *after[kind]}
        if before[kind].get(name) != after[kind].get(name)
    }


def _large(count: int) -> State:
    names = [f"c{number}" for number in range(count)]
    return state(
        {
            "loadbalancers": {"lb": {"vip_address": "127.0.0.1"}},
            "listeners": {
                "web": {
                    "loadbalancer_id": "lb",
                    "protocol": "HTTPS",
                    "protocol_port": 443,
                    "default_tls_container_ref": "main",
                    "sni_container_refs": names,
                    "default_pool_id": "pool",
                }
            },
            "certificates": {n: {"domain": [f"{n}.example.com"]} for n in names} | {"main": {}},
            "pools": {"pool": {"loadbalancer_id": "lb", "name": "pool"}},
        },
        written_chain,
    )


def _renewed(world: State, name: str, content: str) -> State:
    old = world.certificates[name]
    new = msgspec.structs.replace(old, chain=written_chain(content, {}))
    return msgspec.structs.replace(world, certificates={**world.certificates, name: new})


def test_every_resource_type_is_present_even_if_empty() -> None:
    made = snapshot(State(), OPTIONS)
    assert made.messages[LISTENERS] == made.messages[ROUTES] == made.messages[CLUSTERS] == {}
    assert made.secrets == {}


def test_a_listener_without_tls_policy_gets_the_default() -> None:
    world = _large(0)
    silent: Listener = world.listeners["web"]
    told = msgspec.structs.replace(silent, tls_ciphers_policy="tls-1-2")
    other = msgspec.structs.replace(world, listeners={"web": told})
    assert _versions(snapshot(world, OPTIONS)) == _versions(snapshot(other, OPTIONS))
