"""A host has one namespace, and an age that outlives the re-creation of its Ingress."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from certferry.core.model.claimed_since import claimed_since, restored
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import AGE_ANNOTATION, ClusterView, Ingress, Name, parse_ingress
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import Translation, translate
from tests.core.support.fixtures import BALANCER, NOW, view

KEY = b"the controller's"
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
OPTIONS = TranslateOptions(default_loadbalancer=BALANCER.id)
OBSERVED = State(loadbalancers={BALANCER.id: BALANCER})
HOSTS = st.sampled_from(["a.test", "b.test", "*.test", "c.a.test"])
CLAIMS = st.lists(
    st.tuples(
        st.sampled_from(["one", "two", "three"]),
        st.lists(HOSTS, min_size=1, max_size=3, unique=True),
        st.lists(HOSTS, max_size=2, unique=True),
        st.sampled_from([443, 8443]),
    ),
    min_size=1,
    max_size=8,
)
Claim = tuple[str, list[str], list[str], int]


def manifest(number: int, claim: Claim, age: int, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    namespace, hosts, secured, port = claim
    path = {"path": f"/{number}", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
    return {
        "kind": "Ingress",
        "metadata": {
            "namespace": namespace,
            "name": f"i{number}",
            "uid": f"{age}-{number}",
            "creationTimestamp": (BEGIN + timedelta(days=age)).isoformat(),
            "annotations": {"kubernetes.io/elb.listen-ports": f'[{{"HTTPS": {port}}}]', **(annotations or {})},
        },
        "spec": {
            "ingressClassName": "cce",
            "tls": [{"secretName": f"s{number}", "hosts": secured}],
            "rules": [{"host": host, "http": {"paths": [path]}} for host in hosts],
        },
    }


def world(manifests: Sequence[dict[str, Any]], claims: Sequence[Claim]) -> ClusterView:
    secrets = {f"{c[0]}/s{n}": {"content": f"s{n}", "names": [*c[1], *c[2]]} for n, c in enumerate(claims)}
    cluster = view({"objects": [], "secrets": secrets})
    ingresses = [restored(parse_ingress(obj), obj, KEY) for obj in manifests]
    return ClusterView(
        cluster_id=cluster.cluster_id, secrets=cluster.secrets, ingresses={i.meta.key: i for i in ingresses}
    )


def oldest(ingresses: Sequence[Ingress]) -> dict[str, str]:
    owners: dict[str, str] = {}
    for ingress in sorted(ingresses, key=lambda i: (i.meta.created, i.meta.key)):
        for host in (*ingress.hosts, *(h for t in ingress.tls for h in t.hosts)):
            owners.setdefault(host, ingress.meta.namespace)
    return owners


def decided(translation: Translation) -> Any:
    policies = sorted((p.name, p.listener_id, p.rules) for p in translation.desired.policies.values())
    owners = {at: group[0].ingress.meta.key for at, group in translation.claims.items()}
    slots = {
        at: [(c.chain and c.chain.digest, c.domain) for c in (b.slots.default, *b.slots.sni) if c]
        for at, b in translation.bindings.items()
    }
    return policies, owners, slots


@given(CLAIMS)
@example(  # a wildcard shadows a host of the default certificate, which also has a name of another namespace
    [
        ("two", ["b.test"], ["b.test"], 8443),
        ("one", ["a.test", "b.test"], [], 443),
        ("one", ["*.test"], ["*.test"], 443),
    ]
)
def test_paths_and_certificates_of_a_host_are_of_one_namespace(claims: list[Claim]) -> None:
    cluster = world([manifest(n, claim, age=n) for n, claim in enumerate(claims)], claims)
    translation = translate(cluster, OBSERVED, OPTIONS, NOW)
    owners = oldest(tuple(cluster.ingresses.values()))
    for policy in translation.desired.policies.values():
        (host,) = (rule.value for rule in policy.rules if rule.type == "HOST_NAME")
        assert (policy.name or "").startswith(f"k8s_{owners[host]}_")
    for binding in translation.bindings.values():
        for certificate in binding.slots.sni:
            assert certificate.source is not None
            assert {owners[name] for name in certificate.domain} == {certificate.source.namespace}


@given(CLAIMS, st.randoms(use_true_random=False))
def test_a_restore_in_any_order_decides_the_same(claims: list[Claim], random: Any) -> None:
    first = world([manifest(n, claim, age=n) for n, claim in enumerate(claims)], claims)
    ages = list(range(len(claims), 2 * len(claims)))
    random.shuffle(ages)
    again = [
        manifest(n, claim, ages[n], {AGE_ANNOTATION: claimed_since(first.ingresses[Name(claim[0], f"i{n}")], KEY)})
        for n, claim in enumerate(claims)
    ]
    random.shuffle(again)
    before = translate(first, OBSERVED, OPTIONS, NOW)
    after = translate(world(again, claims), OBSERVED, OPTIONS, NOW)
    assert decided(after) == decided(before)


def test_an_age_is_neither_invented_nor_given_to_another_ingress() -> None:
    claim: Claim = ("one", ["a.test"], [], 443)
    old = parse_ingress(manifest(0, claim, age=0))
    good = claimed_since(old, KEY)
    for number, text in (
        (0, "1999-01-01T00:00:00+00:00"),
        (0, "1999-01-01T00:00:00+00:00 " + good.partition(" ")[2]),
        (0, claimed_since(old, b"another")),
        (0, "never"),
        (1, good),
    ):
        obj = manifest(number, claim, age=9, annotations={AGE_ANNOTATION: text})
        assert restored(parse_ingress(obj), obj, KEY).meta.created == BEGIN + timedelta(days=9)
    obj = manifest(0, claim, age=9, annotations={AGE_ANNOTATION: good})
    assert restored(parse_ingress(obj), obj, KEY).meta.created == BEGIN
