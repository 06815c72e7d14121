"""For any sequence of changes, a translation with the memo of the one before equals a full one.

Hypothesis draws worlds that share most objects: Ingresses, Secrets, Services, endpoints, Nodes, limits and instants
change, and the plan between two worlds is abandoned after a drawn number of steps.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from certferry.core.memo import Memo
from certferry.core.model.elb import Certificate, State
from certferry.core.model.kubernetes import ClusterView
from certferry.core.plan.plan import match, plan
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import translate
from tests.core.support.fixtures import BALANCER, CLUSTER, NOW, Elb, chain, view
from tests.support.examples import examples

HOSTS = ("a.example.com", "b.example.com", "*.example.com")
SECRETS = ("one", "two")
contents = st.fixed_dictionaries(
    {"content": st.integers(0, 3).map(lambda n: f"v{n}")},
    optional={
        "names": st.sets(st.sampled_from(HOSTS), min_size=1).map(sorted),
        "not_after": st.sampled_from([NOW + timedelta(hours=n) for n in (-1, 1, 3)]),
        "key": st.sampled_from(["P-256", "RSA-2048"]),
    },
)
notes = st.fixed_dictionaries(
    {"example.com/note": st.just("any")},
    optional={
        "kubernetes.io/elb.port": st.sampled_from(["443", "8443"]),
        "kubernetes.io/elb.tls-certificate-ids": st.sampled_from(["mine", "gone"]),
        "kubernetes.io/elb.ssl-redirect": st.just("true"),
        "kubernetes.io/elb.listen-ports": st.just('[{"HTTP":80},{"HTTPS":443}]'),
        "kubernetes.io/elb.ingress-order": st.sampled_from(["1", "2"]),
    },
)
fields: dict[str, st.SearchStrategy[Any]] = {
    "host": st.sampled_from(HOSTS),
    "secret": st.sampled_from(SECRETS),
    "annotations": notes,
}
ingresses = st.fixed_dictionaries(
    fields, optional={"class": st.sampled_from(["cce", "other"]), "path": st.sampled_from(["/", "/a"])}
)
worlds = st.fixed_dictionaries(
    {
        "ingresses": st.dictionaries(st.sampled_from(["x", "y", "z"]), ingresses),
        "secrets": st.dictionaries(st.sampled_from(SECRETS), contents),
        "ports": st.sampled_from([80, 81]),
        "address": st.sampled_from(["10.0.0.1", "10.0.0.2"]),
        "type": st.sampled_from(["ClusterIP", "NodePort"]),
        "nodes": st.sampled_from([None, (), ("10.1.0.1",)]),
        "policies": st.sampled_from([0, 1]),
        "hours": st.integers(0, 4),
        "steps": st.none() | st.integers(0, 6),
    }
)


def _view(world: dict[str, Any]) -> ClusterView:
    objects: list[dict[str, Any]] = [
        {
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"type": world["type"], "ports": [{"name": "http", "port": world["ports"], "nodePort": 30080}]},
        },
        {
            "kind": "EndpointSlice",
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "ports": [{"name": "http", "port": 9000}],
            "endpoints": [{"addresses": [world["address"]]}],
        },
    ]
    objects += [_ingress(name, facts) for name, facts in sorted(world["ingresses"].items())]
    if world["nodes"] is not None:
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        objects += [
            {
                "kind": "Node",
                "metadata": {"name": a},
                "status": ready | {"addresses": [{"type": "InternalIP", "address": a}]},
            }
            for a in world["nodes"]
        ]
    contents = {n: {**f, "content": repr((n, sorted(f.items(), key=str)))} for n, f in world["secrets"].items()}
    return view({"objects": objects, "secrets": contents})


def _ingress(name: str, facts: dict[str, Any]) -> dict[str, Any]:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    path = {"path": facts.get("path", "/"), "pathType": "Prefix", "backend": backend}
    return {
        "kind": "Ingress",
        "metadata": {"name": name, "annotations": facts["annotations"]},
        "spec": {
            "ingressClassName": facts.get("class", "cce"),
            "tls": [{"secretName": facts["secret"], "hosts": [facts["host"]]}],
            "rules": [{"host": facts["host"], "http": {"paths": [path]}}],
        },
    }


@examples(150)
@given(st.lists(worlds, min_size=2, max_size=6))
def test_a_translation_with_a_memo_equals_a_full_one(sequence: list[dict[str, Any]]) -> None:
    mine = Certificate(id="mine", name="mine", chain=chain("mine", names=HOSTS))
    elb, memo = Elb(State(loadbalancers={BALANCER.id: BALANCER}, certificates={"mine": mine})), Memo()
    for world in sequence:
        cluster, now = _view(world), NOW + timedelta(hours=world["hours"])
        options = TranslateOptions(
            cluster_name="test", default_loadbalancer=BALANCER.id, max_policies=world["policies"]
        )
        elb.chains |= {s.chain.digest: s.chain for s in cluster.secrets.values() if s.chain}
        made = translate(cluster, elb.state, options, now, memo)
        assert made == translate(cluster, elb.state, options, now)
        elb.ids = dict(match(made.desired, elb.state, CLUSTER))
        for step in [*plan(made.desired, elb.state, CLUSTER, made.retained)][: world["steps"]]:
            before = elb.state
            try:
                elb.apply(step)
            except AssertionError:  # the ELB refuses the step: the plan is abandoned there
                elb.state = before
                break


def test_what_did_not_change_is_not_computed_again() -> None:
    computed: list[int] = []

    def double(number: int) -> int:
        computed.append(number)
        return 2 * number

    memo = Memo()
    for given_numbers in ((1, 2), (1, 3), (1, 3), ()):
        memo.begin()
        assert [memo.call(at, double, n) for at, n in enumerate(given_numbers)] == [2 * n for n in given_numbers]
    assert computed == [1, 2, 3]
    memo.begin()
    assert memo.call(0, double, 1) == 2
    assert computed == [1, 2, 3, 1]
