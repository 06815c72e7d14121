"""Whatever a cluster and an ELB are, a sentence names the certificate that the listener selects.

Hypothesis draws claims, Secrets and ELB certificates, then other Secrets; the plan between the two is abandoned
after a drawn number of steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from certferry.core.diagnosis.host_probes import with_probes
from certferry.core.diagnosis.host_state import HostProbe, HostState, host_states
from certferry.core.diagnosis.wanted import SLOT_KINDS
from certferry.core.model.elb import Certificate, State
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.plan.plan import match, plan
from certferry.core.translate.certificate_slots import current_slots, kind_of
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.secret_certificates import SecretUse
from certferry.core.translate.translate import translate
from certferry.core.x509.expiry import Limits
from tests.core.support.fixtures import BALANCER, CLUSTER, NOW, Elb, chain, view
from tests.support.examples import examples

OPTIONS = TranslateOptions(cluster_name="test", default_loadbalancer=BALANCER.id)
HOSTS = ("a.example.com", "b.example.com", "*.example.com")
SECRETS = ("one", "two", "three")
ELB_NAMES = {"c-mine": "mine", "c-named": "named"}
NAMED_AS_BOUND = re.compile(r"\bget (?:the certificate of (Secret \S+)|(ELB certificate \S+)) \(")
"""How a sentence names what clients get."""
OTHERS = re.compile(r"Clients of ([^ ,]+(?:, [^ ,]+)*) get (?:another|no) certificate")
"""How an Event names the hosts that get something else."""

contents = st.fixed_dictionaries(
    {"content": st.integers(0, 3).map(lambda n: f"v{n}")},
    optional={
        "names": st.sets(st.sampled_from(HOSTS), min_size=1).map(sorted),
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
ingresses = st.lists(
    st.tuples(st.sampled_from(HOSTS), entries, st.sampled_from([None, "c-mine", "c-mine,c-named", "c-gone,c-named"])),
    min_size=1,
    max_size=4,
)


def _cluster(shape: list[Any], secrets: dict[str, Any]) -> ClusterView:
    objects = [
        {
            "kind": "Ingress",
            "metadata": {
                "name": f"i{number}",
                "annotations": {"kubernetes.io/elb.tls-certificate-ids": chosen} if chosen else {},
            },
            "spec": {"ingressClassName": "cce", "tls": tls, "rules": [{"host": host}]},
        }
        for number, (host, tls, chosen) in enumerate(shape)
    ]
    return view({"objects": objects, "secrets": {name: _said(name, f) for name, f in secrets.items()}})


def _said(name: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Give each content a digest of its own."""
    if "flaw" in facts:
        return facts
    uid = f"{name}-{facts.get('uid', 'first')}"
    return {**facts, "uid": uid, "content": repr((name, sorted(facts.items(), key=str)))}


def _elb() -> Elb:
    mine = Certificate(id="c-mine", name="mine", chain=chain("mine", names=HOSTS[:2]))
    named = Certificate(id="c-named", name="named", chain=chain("named", names=HOSTS[1:2]), domain=HOSTS[1:2])
    return Elb(State(loadbalancers={BALANCER.id: BALANCER}, certificates={"c-mine": mine, "c-named": named}))


def _run(cluster: ClusterView, elb: Elb, steps: int | None = None) -> None:
    elb.chains |= {s.chain.digest: s.chain for s in cluster.secrets.values() if s.chain}
    made = translate(cluster, elb.state, OPTIONS, NOW)
    elb.ids = dict(match(made.desired, elb.state, CLUSTER))
    for step in [*plan(made.desired, elb.state, CLUSTER, made.retained)][:steps]:
        before = elb.state
        try:
            elb.apply(step)
        except AssertionError:  # the ELB refuses the step: the plan is abandoned there
            elb.state = before
            return


@examples(200)
@given(ingresses, some_secrets, some_secrets, st.integers(0, 8))
def test_every_sentence_names_what_the_listener_selects(
    shape: list[Any], first: dict[str, Any], then: dict[str, Any], steps: int
) -> None:
    elb = _elb()
    _run(_cluster(shape, first), elb)
    after = _cluster(shape, then)
    _run(after, elb, steps)
    translation = translate(after, elb.state, OPTIONS, NOW)
    states = host_states(after, elb.state, translation, (), NOW, Limits())
    wanted_hosts = {h for i in after.ingresses.values() for h in (*i.hosts, *(h for t in i.tls for h in t.hosts))}
    assert wanted_hosts <= {s.host for s in states}
    assert len({s.key for s in states}) == len(states)
    for state in states:
        listener = elb.state.listeners.get(state.listener_id)
        selected = current_slots(listener, elb.state.certificates).answer(state.host, SLOT_KINDS[state.key.key_kind])
        assert (state.bound.certificate_id if state.bound else None) == (selected.id if selected else None)
        assert [*_named(state)] == ([str(state.bound.source)] if state.bound else [])
        if selected:
            assert str(state.bound and state.bound.source) == _source(selected, after)
        binding = translation.bindings.get((BALANCER.id, state.port))
        if state.desired and binding:
            to_be = binding.slots.answer(state.host, SLOT_KINDS[state.key.key_kind])
            assert to_be is not None
            assert state.desired.certificate_id == to_be.id


@examples(200)
@given(ingresses, some_secrets, some_secrets)
@example(  # a Secret is created again, and its certificate does not cover a host that the old one serves
    [(HOSTS[1], [{"secretName": "one"}, {"secretName": "two", "hosts": [HOSTS[0]]}], None)],
    {"one": {"content": "v0", "names": [HOSTS[0]], "uid": "second"}},
    {"one": {"content": "v0"}},
)
@example(  # a Secret was made anew, and its listener keeps the certificate of the earlier one
    shape=[
        ("a.example.com", [{"secretName": "one"}], "c-mine"),
        ("a.example.com", [{"secretName": "one"}, {"secretName": "three", "hosts": ["*.example.com"]}], None),
    ],
    first={"three": {"content": "v0", "uid": "second"}},
    then={
        "three": {"content": "v0"},
        "one": {"content": "v0", "names": ["a.example.com"], "key": "RSA-2048", "not_after": NOW - timedelta(days=1)},
    },
)
def test_every_event_states_what_the_listener_is_to_select(
    shape: list[Any], first: dict[str, Any], then: dict[str, Any]
) -> None:
    elb = _elb()
    _run(_cluster(shape, first), elb)
    after = _cluster(shape, then)
    _run(after, elb)
    translation = translate(after, elb.state, OPTIONS, NOW)
    uses = {str(use.secret): use for use in translation.secret_uses.values()}
    binding = translation.bindings.get((BALANCER.id, 443))
    (listener,) = elb.state.listeners.values() or (None,)
    bound = binding and binding.slots.default
    slots = binding.slots if binding and bound else current_slots(listener, elb.state.certificates)
    for problem in translation.problems:
        if problem.object.kind != "Secret":
            continue
        use = uses[f"{problem.object.namespace}/{problem.object.name}"]
        certificate = next((c for c in translation.desired.certificates.values() if _is(c, use)), None)
        kind = "EC" if certificate is None else kind_of(certificate)
        hosts = {h for place in use.places for h in place.hosts}
        served = {h for h in hosts if _is(slots.answer(h, kind), use)}
        says_served = "It is served anyway" in problem.sentence or "Still serving" in problem.sentence
        assert says_served == bool(served), problem.sentence
        others = {h for clients in OTHERS.findall(problem.sentence) for h in clients.split(", ")}
        assert others == {h for h in hosts - served if h}, problem.sentence


@examples(200)
@given(ingresses, some_secrets, some_secrets, st.integers(0, 8), st.data())
def test_a_probe_that_comes_later_has_the_same_effect(
    shape: list[Any], first: dict[str, Any], then: dict[str, Any], steps: int, data: st.DataObject
) -> None:
    elb = _elb()
    _run(_cluster(shape, first), elb)
    after = _cluster(shape, then)
    _run(after, elb, steps)
    translation = translate(after, elb.state, OPTIONS, NOW)
    states = host_states(after, elb.state, translation, (), NOW, Limits())
    chains = [s.bound.chain for s in states if s.bound and s.bound.chain] or [chain("other", names=HOSTS)]
    results = [
        HostProbe(
            address=state.key.address,
            port=state.key.port,
            sni=state.host,
            key_kind=data.draw(st.sampled_from(["", "RSA", "ECDSA"])),
            expected=data.draw(st.sampled_from(["", *(c.digest for c in chains)])),
            **data.draw(st.sampled_from([{"chain": c} for c in chains] + [{"error": "late", "reached": False}])),
        )
        for state in states
        if data.draw(st.booleans())
    ]
    at_once = host_states(after, elb.state, translation, results, NOW, Limits())
    assert with_probes(states, results, after, NOW) == at_once


def _is(answer: Certificate | None, use: SecretUse) -> bool:
    return answer is not None and f"_shop_{use.secret.name}_" in answer.name


def _named(state: HostState) -> Iterator[str]:
    """Return every certificate that the sentence names as what clients get."""
    for match_ in NAMED_AS_BOUND.finditer(state.sentence):
        yield match_[1] or match_[2]
    assert state.sentence.count(" get ") == 1


def _source(certificate: Certificate, cluster: ClusterView) -> str:
    """Return the source of `certificate` from its name alone, as ``naming`` builds it."""
    if certificate.id in ELB_NAMES:
        return f"ELB certificate {ELB_NAMES[certificate.id]}"
    (name,) = [n for n in SECRETS if f"_shop_{n}_" in certificate.name]
    wanted = {entry.secret for ingress in cluster.ingresses.values() for entry in ingress.tls}
    if name not in wanted and Name("shop", name) not in cluster.secrets:
        return f"ELB certificate {certificate.name}"  # nothing of the cluster names it any more
    return f"Secret shop/{name}"


def test_the_states_do_not_depend_on_the_order_of_their_inputs() -> None:
    shape = [(h, [{"secretName": n, "hosts": [h]}], None) for h, n in zip(HOSTS, SECRETS, strict=True)]
    cluster = _cluster(shape, {name: {"content": "v"} for name in SECRETS})
    elb = _elb()
    _run(cluster, elb)
    translation = translate(cluster, elb.state, OPTIONS, NOW)
    turned = State(
        loadbalancers=elb.state.loadbalancers,
        listeners=dict(reversed([*elb.state.listeners.items()])),
        certificates=dict(reversed([*elb.state.certificates.items()])),
    )
    one = host_states(cluster, elb.state, translation, (), NOW, Limits())
    assert one == host_states(cluster, turned, translation, (), NOW, Limits())
