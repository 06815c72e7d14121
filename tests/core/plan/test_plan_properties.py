"""Whatever a cluster goes through, no step of a plan makes what is served worse.

Hypothesis draws a cluster, then another state of its Secrets and annotations; the plan from one to
the other is abandoned after a drawn number of steps, and taken up again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from certferry.core import checks
from certferry.core.model.elb import Certificate, Listener, State
from certferry.core.model.kubernetes import ClusterView
from certferry.core.plan.plan import match, plan
from certferry.core.translate.certificate_slots import kind_of
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import translate
from certferry.core.x509.pem import Chain, covers
from tests.core.support.fixtures import BALANCER, CLUSTER, NOW, Elb, chain, view
from tests.support.examples import examples

OPTIONS = TranslateOptions(cluster_name="test", default_loadbalancer=BALANCER.id)
HOSTS = ("a.example.com", "b.example.com", "c.example.com")
SECRETS = ("one", "two", "three")

contents = st.fixed_dictionaries(
    {"content": st.integers(0, 9).map(lambda n: f"v{n}")},
    optional={
        "names": st.sets(st.sampled_from([*HOSTS, "*.example.com"]), min_size=1).map(sorted),
        "not_after": st.sampled_from([NOW - timedelta(days=1), NOW + timedelta(days=9)]),
        "not_before": st.sampled_from([NOW - timedelta(days=20), NOW + timedelta(days=1)]),
        "key": st.sampled_from(["P-256", "RSA-2048", "RSA-1024"]),
        "uid": st.sampled_from(["first", "second"]),
    },
)
flaws = st.just({"flaw": "The private key does not belong to the certificate."})
some_secrets = st.dictionaries(st.sampled_from(SECRETS), contents | flaws)
entries = st.lists(
    st.fixed_dictionaries(
        {"secretName": st.sampled_from(SECRETS)},
        optional={"hosts": st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2, unique=True)},
    ),
    min_size=1,
    max_size=3,
)
ingresses = st.lists(st.tuples(st.sampled_from(HOSTS), entries), min_size=1, max_size=3)
_ONE_PORT = ("443",) * 3
some_ports = st.lists(st.sampled_from(["443", "8443"]), min_size=3, max_size=3)
choices = st.lists(st.sampled_from([None, "mine", "mine,named", "gone"]), min_size=3, max_size=3)


def _cluster(
    shape: list[Any], secrets: dict[str, Any], ids: Sequence[str | None], ports: Sequence[str] = _ONE_PORT
) -> ClusterView:
    objects = [
        {
            "kind": "Ingress",
            "metadata": {
                "name": f"i{number}",
                "annotations": {"kubernetes.io/elb.port": port}
                | ({"kubernetes.io/elb.tls-certificate-ids": chosen} if chosen else {}),
            },
            "spec": {"ingressClassName": "cce", "tls": tls, "rules": [{"host": host, "http": {"paths": [_PATH]}}]},
        }
        for number, ((host, tls), chosen, port) in enumerate(zip(shape, ids, ports, strict=False))
    ]
    # a digest covers all facts, so that two contents never share one
    told = {name: _with_digest(name, facts) for name, facts in secrets.items()}
    return view({"objects": objects, "secrets": told})


def _routes(backend: str) -> ClusterView:
    """An Ingress whose whole traffic (`rules`, `default`) goes to a Service; none of it for ``none``."""
    where = {"service": {"name": "web", "port": {"number": 80}}}
    spec: dict[str, Any] = {"ingressClassName": "cce", "tls": [{"secretName": SECRETS[0]}]}
    if "rules" in backend:
        spec["rules"] = [{"host": HOSTS[0], "http": {"paths": [_PATH]}}]
    if "default" in backend:
        spec["defaultBackend"] = where
    ingress = {"kind": "Ingress", "metadata": {"name": "i"}, "spec": spec}
    objects = [] if backend == "none" else [*_BACKENDS, ingress]
    return view({"objects": objects, "secrets": {SECRETS[0]: {}}})


def _with_digest(name: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts of a chain whose digest covers all its facts, so that two contents never share one."""
    if "flaw" in facts:
        return facts
    uid = f"{name}-{facts.get('uid', 'first')}"
    return {**facts, "uid": uid, "content": repr((name, sorted(facts.items(), key=str)))}


_BACKENDS = [
    {"kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"name": "http", "port": 80}]}},
    {
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "ports": [{"name": "http", "port": 9000}],
        "endpoints": [{"addresses": ["10.0.0.1"]}],
    },
]
_PATH = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}


def _elb() -> Elb:
    mine = Certificate(id="mine", name="mine", chain=chain("mine", names=HOSTS))
    named = Certificate(id="named", name="named", chain=chain("named", names=HOSTS[1:2]), domain=HOSTS[1:2])
    return Elb(State(loadbalancers={BALANCER.id: BALANCER}, certificates={"mine": mine, "named": named}))


def _steps(cluster: ClusterView, elb: Elb) -> Any:
    elb.chains |= {s.chain.digest: s.chain for s in cluster.secrets.values() if s.chain}
    made = translate(cluster, elb.state, OPTIONS, NOW)
    elb.ids = dict(match(made.desired, elb.state, CLUSTER))
    return plan(made.desired, elb.state, CLUSTER, made.retained)


def _served(state: State) -> dict[tuple[int, str], Chain | None]:
    return {(it.protocol_port, h): _answer(state, it, h) for it in state.listeners.values() for h in HOSTS}


def _answer(state: State, listener: Listener, host: str) -> Chain | None:
    """Return what a client that prefers ECDSA gets."""
    sni = sorted((state.certificates[r] for r in listener.sni_container_refs or ()), key=kind_of)
    exact = [c for c in sni if host in c.domain]
    wild = [c for c in sni if any(n.startswith("*.") and host.endswith(n[1:]) for n in c.domain)]
    default = state.certificates[listener.default_tls_container_ref or ""]
    return (exact + wild + [default])[0].chain


def _good(it: Chain | None, host: str) -> bool:
    return it is not None and checks.valid(it, NOW) and covers(it.names, host)


@examples(250)
@given(ingresses, some_secrets, some_secrets, choices, choices, some_ports, st.integers(0, 8))
@example(  # the second Ingress lets its chosen certificates go, and its Secret is not there
    [(HOSTS[0], [{"secretName": "two"}]), (HOSTS[0], [{"secretName": "one", "hosts": [*HOSTS[:2]]}])],
    {"two": {"content": "v0", "not_after": NOW - timedelta(days=1)}},
    {},
    [None, "mine,named", None],
    [None, None, None],
    _ONE_PORT,
    0,
)
def test_no_step_worsens_the_served_certificate(
    shape: list[Any],
    first: dict[str, Any],
    then: dict[str, Any],
    ids_first: list[str | None],
    ids_then: list[str | None],
    ports: Sequence[str],
    abandoned_after: int,
) -> None:
    elb = _elb()
    elb.run(_steps(_cluster(shape, first, ids_first, ports), elb))
    after = _cluster(shape, then, ids_then, ports)
    before = elb.state
    wanted = {host for host, _ in shape} | {h for _, tls in shape for t in tls for h in t.get("hosts", ())}
    steps = _steps(after, elb)
    for step in steps[:abandoned_after]:
        elb.apply(step)
        _nothing_lost(before, elb.state, wanted)
    # A content waits while a host that it does not cover depends on the one in place; the same plan may
    # give that host to another certificate, and the next one takes the content.
    for _ in range(3):
        for step in _steps(after, elb):
            elb.apply(step)
            _nothing_lost(before, elb.state, wanted)
    assert _steps(after, elb) == ()


@examples(250)
@given(ingresses, some_secrets, choices, some_ports, st.sets(st.sampled_from([*SECRETS, "mine", "named"]), min_size=1))
def test_a_mark_takes_no_good_certificate_from_a_host(
    shape: list[Any], secrets: dict[str, Any], ids: list[str | None], ports: Sequence[str], marked: set[str]
) -> None:
    """No step of a mark, and none of its end, makes a host worse, also with the mark counted as worse."""
    cluster, elb = _cluster(shape, secrets, ids, ports), _elb()
    for _ in range(3):
        elb.run(_steps(cluster, elb))
    wanted = {
        (int(port), h)
        for (host, tls), port in zip(shape, ports, strict=False)
        for h in (host, *(named for entry in tls for named in entry.get("hosts", ())))
    }
    compromised = _keys(cluster, marked)
    elb.state = msgspec.structs.replace(elb.state, compromised=compromised)
    for _ in range(4):
        for step in _steps(cluster, elb):
            before = _served(elb.state)
            elb.apply(step)
            after = _served(elb.state)
            for (port, host), had in before.items():
                if (port, host) in wanted and _good(had, host):
                    has = after[port, host]
                    assert _good(has, host), (port, host)
                    assert had
                    assert has
                    assert not (has.spki in compromised and had.spki not in compromised), (port, host)
    assert _steps(cluster, elb) == ()


@examples(250)
@given(ingresses, some_secrets, st.sets(st.sampled_from(SECRETS), min_size=1))
def test_a_marked_key_leaves_each_host_that_another_certificate_would_serve(
    shape: list[Any], secrets: dict[str, Any], marked: set[str]
) -> None:
    """Whatever a host gets if the marked Secrets do not exist, it gets at the mark."""
    none: list[str | None] = [None] * 3
    cluster, elb = _cluster(shape, secrets, none), _elb()
    elb.run(_steps(cluster, elb))
    elb.state = msgspec.structs.replace(elb.state, compromised=_keys(cluster, marked))
    for _ in range(4):
        elb.run(_steps(cluster, elb))
    without = _elb()
    rest = _cluster(shape, {name: facts for name, facts in secrets.items() if name not in marked}, none)
    without.run(_steps(rest, without))
    now, instead = _served(elb.state), _served(without.state)
    for (port, host), chain_instead in instead.items():
        if host in {h for h, _ in shape} and _good(chain_instead, host):
            has = now[port, host]
            assert has is not None
            assert has.spki not in elb.state.compromised, (port, host)


def _keys(cluster: ClusterView, marked: set[str]) -> frozenset[str]:
    chains = (s.chain for name, s in cluster.secrets.items() if name.name in marked)
    return frozenset({c.spki for c in chains if c} | (marked & {"mine", "named"}))


_BACKED = ("none", "rules", "default", "rules and default")


@pytest.mark.parametrize("then", _BACKED)
@pytest.mark.parametrize("first", _BACKED)
def test_an_elb_accepts_every_step_between_backends(first: str, then: str) -> None:
    """The simulated ELB refuses what a real one refuses: what is in use is not deleted."""
    elb = _elb()
    for backend in (first, then):
        elb.run(_steps(_routes(backend), elb))
        assert _steps(_routes(backend), elb) == ()
    if then == "none":
        assert not elb.state.listeners
        assert not elb.state.pools


def _nothing_lost(before: State, now: State, wanted: set[str]) -> None:
    """Every listener is there, and a valid certificate was not replaced by one that is not valid."""
    assert set(before.listeners) <= set(now.listeners)
    old, new = _served(before), _served(now)
    for (port, host), had in old.items():
        if host in wanted and had is not None and checks.valid(had, NOW):
            has = new[port, host]
            assert has is not None
            assert checks.valid(has, NOW), f"{host} was valid"


@examples(150)
@given(ingresses, some_secrets, some_secrets, some_ports)
@example(  # the default certificate stays by the invariant, and gets other names
    [(HOSTS[0], [{"secretName": "three"}, {"secretName": "two"}, {"secretName": "one"}])],
    {"one": {"content": "v0"}, "two": {"content": "v0"}},
    {
        "one": {"content": "v0"},
        "two": {"content": "v0", "names": [HOSTS[0]]},
        "three": {"content": "v0", "names": [HOSTS[0]], "not_after": NOW - timedelta(days=1)},
    },
    _ONE_PORT,
)
@example(  # the Secret of the default certificate is gone, and a wildcard shadows its host
    [(HOSTS[0], [{"secretName": "three"}, {"secretName": "two"}])],
    {
        "two": {"content": "v0"},
        "three": {"content": "v0", "names": HOSTS[:2], "key": "RSA-2048", "not_after": NOW - timedelta(days=1)},
    },
    {"two": {"content": "v0", "names": ["*.example.com", HOSTS[1]], "key": "RSA-2048"}},
    _ONE_PORT,
)
def test_new_content_never_loses_a_host(
    shape: list[Any], first: dict[str, Any], then: dict[str, Any], ports: Sequence[str]
) -> None:
    """With Ingresses unchanged, a host with a good certificate keeps having one."""
    elb = _elb()
    none: list[str | None] = [None] * 3
    elb.run(_steps(_cluster(shape, first, none, ports), elb))
    routed = {(int(port), host) for (host, _), port in zip(shape, ports, strict=False)}
    old = _served(elb.state)
    elb.run(_steps(_cluster(shape, then, none, ports), elb))
    new = _served(elb.state)
    for port, host in routed & set(old):
        if _good(old[port, host], host):
            assert _good(new[port, host], host), (port, host)


@examples(100)
@given(ingresses, some_secrets, st.randoms())
def test_the_order_in_which_objects_are_listed_changes_nothing(
    shape: list[Any], secrets: dict[str, Any], random: Any
) -> None:
    cluster = _cluster(shape, secrets, [None] * 3)
    shuffled = {
        part: dict(random.sample(sorted(getattr(cluster, part).items()), len(getattr(cluster, part))))
        for part in ("ingresses", "secrets")
    }
    elb = _elb()
    same = msgspec.structs.replace(cluster, **shuffled)
    assert _steps(cluster, elb) == _steps(same, elb)


def test_ten_restarts_with_shuffled_lists_bind_the_same_certificates() -> None:
    """Each begins with an ELB of its own and with what the one before left; all objects have one age."""
    shape = [(h, [{"secretName": s, "hosts": [h, HOSTS[0]]}]) for h, s in zip(HOSTS, SECRETS, strict=True)]
    cluster = _cluster(shape, {s: {"content": s, "names": HOSTS} for s in SECRETS}, [None] * 3)
    age = next(iter(cluster.ingresses.values())).meta.created
    same = {
        n: msgspec.structs.replace(i, meta=msgspec.structs.replace(i.meta, created=age))
        for n, i in cluster.ingresses.items()
    }
    kept, found = _elb(), set()
    for seed in range(10):
        shuffled = Random(seed).sample(sorted(same.items()), len(same))
        view_ = msgspec.structs.replace(cluster, ingresses=dict(shuffled))
        fresh = _elb()
        fresh.run(_steps(view_, fresh))
        kept.run(_steps(view_, kept))
        found |= {tuple(sorted((h, c.digest) for h, c in _served(e.state).items() if c)) for e in (fresh, kept)}
        if seed:
            assert _steps(view_, kept) == ()
    assert len(found) == 1
