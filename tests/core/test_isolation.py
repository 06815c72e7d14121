"""One object never changes the result for another: hostile objects beside good ones in random worlds.

The good Ingresses and the good Service are older, in namespaces of their own, with hosts that no other claims. Whatever parseable
objects stand beside them on the same ports, what is decided and said for the good ones is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certferry.core import checks
from certferry.core.decide import decide
from certferry.core.diagnosis import host_state
from certferry.core.diagnosis.cluster import diagnose
from certferry.core.drift.drift import Modes
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.translate import listener_claims
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.services import claimants, listener_annotations
from certferry.core.x509.expiry import Limits
from tests.core.support.fixtures import BALANCER, CLUSTER, NOW, Elb, view
from tests.support.examples import examples

OPTIONS = TranslateOptions(cluster_name="test", default_loadbalancer=BALANCER.id, services="class")
EMPTY = State(loadbalancers={BALANCER.id: BALANCER})
GOOD = ("alpha", "beta")
SERVICE = "gamma"
CLAIMANTS = (*(Name(name, name) for name in GOOD), Name(SERVICE, SERVICE, "Service"))

LABEL = st.text(st.sampled_from("abcxyz019-_*é"), max_size=70)
HOSTS = st.one_of(
    st.lists(LABEL, min_size=1, max_size=5).map(".".join),
    st.sampled_from(["*", "*.com", "a.*.x", "*.*.x", "dot.", "web*.x", "_svc._tcp.example.test", "1.2.3.4", "x" * 253]),
)
DATES = st.one_of(
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from(
        [
            datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
            datetime(1, 1, 1, tzinfo=UTC),
            NOW,
            NOW + timedelta(days=30),
            NOW - timedelta(days=30),
        ]
    ),
)
ANNOTATIONS = st.dictionaries(
    st.sampled_from(
        [
            *("acl-id", "acl-status", "acl-type", "autocreate", "class", "client_timeout", "http2-enable", "id"),
            *("ingress-order", "ip", "keepalive_timeout", "listen-ports", "member_timeout", "pool-protocol", "port"),
            *("redirect-url", "redirect-url-code", "rule-priority-enabled", "security_policy_id", "slowstart"),
            *("ssl-redirect", "tls-certificate-ids", "tls-ciphers-policy", "unknown"),
            *("protocol-port", "cert-id", "client-ca-cert-id", "lb-algorithm", "session-affinity-mode"),
            *("session-affinity-option", "health-check-flag", "health-check-option", "health-check-options"),
        ]
    ),
    st.one_of(
        st.text(max_size=30),
        st.integers().map(str),
        st.sampled_from(
            [
                "https:443",
                "tls:6432,http:80",
                "on",
                "SOURCE_IP",
                "true",
                "false",
                "[]",
                "{}",
                "null",
                '[{"HTTPS":443}]',
                '[{"HTTP":443}]',
                "NaN",
                BALANCER.id,
            ]
        ),
    ),
    max_size=4,
)
CONTENTS = st.fixed_dictionaries(
    {"content": st.sampled_from(["h1", "h2"]), "names": st.lists(HOSTS, max_size=4)},
    optional={
        "not_before": DATES,
        "not_after": DATES,
        "key": st.sampled_from(["P-256", "RSA-1024", "RSA-2048", "Ed25519", "P-521", "secp256k1", "DSA-1024", ""]),
    },
)
SECRETS = st.dictionaries(
    st.sampled_from(["evil/one", "evil/two"]), CONTENTS | st.just({"flaw": "The certificate is damaged."}), max_size=2
)
PATHS = st.fixed_dictionaries(
    {"pathType": st.sampled_from(["Prefix", "Exact", "ImplementationSpecific"])},
    optional={
        "path": st.text(max_size=20).map("/{}".format) | st.sampled_from(["/", "/a(", "/" + "x" * 300]),
        "backend": st.sampled_from(
            [
                {"service": {"name": "web", "port": {"number": 80}}},
                {"service": {"name": "gone", "port": {"name": "x"}}},
                {"resource": {"kind": "Bucket", "name": "b"}},
            ]
        ),
    },
)
SERVICES = st.lists(
    st.fixed_dictionaries(
        {
            "annotations": ANNOTATIONS,
            "ports": st.lists(
                st.fixed_dictionaries(
                    {"port": st.sampled_from([80, 443, 6432, 9000])},
                    optional={"protocol": st.sampled_from(["TCP", "UDP", "SCTP"]), "name": st.sampled_from(["", "a"])},
                ),
                max_size=3,
            ),
        },
        optional={
            "secret": st.sampled_from(["one", "two", "gone"]) | st.text(max_size=9),
            "hosts": HOSTS | st.sampled_from(["gamma.good.test", "alpha.good.test"]),
        },
    ),
    max_size=2,
)
INGRESSES = st.lists(
    st.fixed_dictionaries(
        {"annotations": ANNOTATIONS, "host": HOSTS, "paths": st.lists(PATHS, max_size=3)},
        optional={
            "tls": st.lists(
                st.fixed_dictionaries(
                    {"secretName": st.sampled_from(["one", "two", "gone", ""])},
                    optional={"hosts": st.lists(HOSTS, max_size=3)},
                ),
                max_size=3,
            )
        },
    ),
    min_size=1,
    max_size=3,
)


def good_objects() -> list[dict[str, Any]]:
    objects: list[dict[str, Any]] = []
    for number, name in enumerate(GOOD):
        backend = {"service": {"name": "web", "port": {"number": 80}}}
        meta = {"namespace": name, "name": name, "creationTimestamp": f"2025-01-01T00:00:0{number}+00:00"}
        objects += [
            {
                "kind": "Ingress",
                "metadata": meta,
                "spec": {
                    "ingressClassName": "cce",
                    "tls": [{"secretName": "tls", "hosts": [f"{name}.good.test"]}],
                    "rules": [
                        {
                            "host": f"{name}.good.test",
                            "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
                        }
                    ],
                },
            },
            {
                "kind": "Service",
                "metadata": {"namespace": name, "name": "web", "uid": f"uid-web-{name}"},
                "spec": {"type": "ClusterIP", "ports": [{"port": 80}]},
            },
        ]
    notes = {
        "kubernetes.io/elb.protocol-port": "tls:6432",
        "certferry.io/tls-secret": "tls",
        "certferry.io/tls-hosts": f"{SERVICE}.good.test",
    }
    meta = {"namespace": SERVICE, "name": SERVICE, "creationTimestamp": "2025-01-01T00:00:09+00:00"}
    spec = {"type": "LoadBalancer", "loadBalancerClass": "cce", "ports": [{"port": 6432}]}
    return [*objects, {"kind": "Service", "metadata": {**meta, "annotations": notes}, "spec": spec}]


def world(
    hostile: list[dict[str, Any]], secrets: dict[str, Any], services: list[dict[str, Any]] | None = None
) -> ClusterView:
    objects = good_objects()
    for number, facts in enumerate(services or ()):
        notes = {f"kubernetes.io/elb.{key}": text for key, text in facts["annotations"].items()}
        notes |= {f"certferry.io/tls-{key}": facts[key] for key in ("secret", "hosts") if key in facts}
        objects.append(
            {
                "kind": "Service",
                "metadata": {"namespace": "evil", "name": f"s{number}", "annotations": notes},
                "spec": {"type": "LoadBalancer", "loadBalancerClass": "cce", "ports": facts["ports"]},
            }
        )
    for number, facts in enumerate(hostile):
        notes = {f"kubernetes.io/elb.{key}": text for key, text in facts["annotations"].items()}
        objects.append(
            {
                "kind": "Ingress",
                "metadata": {"namespace": "evil", "name": f"h{number}", "annotations": notes},
                "spec": {
                    "ingressClassName": "cce",
                    "tls": facts.get("tls", []),
                    "rules": [{"host": facts["host"], "http": {"paths": facts["paths"]}}],
                },
            }
        )
    good = {
        f"{name}/tls": {"content": f"good-{name}", "names": [f"{name}.good.test"], "uid": f"tls-{name}"}
        for name in (*GOOD, SERVICE)
    }
    return view({"objects": objects, "secrets": {**good, **secrets}})


def settled(cluster: ClusterView, observed: State) -> State:
    """Carry plans out until nothing is left to do, as the controller does."""
    chains = [s.chain for s in cluster.secrets.values() if s.chain]
    elb = Elb(observed, chains)
    for _ in range(6):
        translation = diagnose(cluster, elb.state, OPTIONS, NOW, Limits()).translation
        steps = decide(translation, elb.state, CLUSTER, Modes()).steps
        if not steps:
            break
        elb.run(steps)
    return elb.state


def outcome(cluster: ClusterView, observed: State) -> dict[str, Any]:
    """What is decided and said for the good Ingresses."""
    state = settled(cluster, observed)
    diagnosis = diagnose(cluster, state, OPTIONS, NOW, Limits())
    states, translation = diagnosis.states, diagnosis.translation
    for secret in cluster.secrets.values():
        if secret.chain:
            checks.next_instant(secret.chain, NOW)
    said: dict[str, Any] = {}
    for claimant in CLAIMANTS:
        name = claimant.name
        mine = [s for s in states if claimant in s.claims]
        said[name] = {
            "bound": [(s.key.sni, s.bound and s.bound.chain and s.bound.chain.fingerprint) for s in mine if s.key.sni],
            "status": [(s.status,) for s in mine if s.key.sni],
            "problems": [
                p for p in translation.problems if p.object.namespace == name and p.reason != "HostNotCovered"
            ],
            "ports": translation.status[claimant].ports if claimant in translation.status else None,
            "policies": sorted(p.name or "" for p in state.policies.values() if f"_{name}_" in (p.name or "")),
        }
    return said


@examples(300)
@given(INGRESSES, SECRETS, SERVICES)
def test_hostile_objects_change_nothing_for_the_others(
    hostile: list[dict[str, Any]], secrets: dict[str, Any], services: list[dict[str, Any]]
) -> None:
    assert outcome(world(hostile, secrets, services), EMPTY) == outcome(world([], {}), EMPTY)


def test_a_service_that_cannot_be_processed_keeps_its_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = world([], {})
    state = settled(cluster, EMPTY)
    assert any(listener.protocol == "TLS" for listener in state.listeners.values())
    monkeypatch.setattr(claimants, "read", failing_over(SERVICE, listener_annotations.read))
    translation = diagnose(cluster, state, OPTIONS, NOW, Limits()).translation
    assert [p.object.name for p in translation.problems if p.reason == "ObjectSkipped"] == [SERVICE]
    assert decide(translation, state, CLUSTER, Modes()).steps == ()


def failing_over(word: str, step: Callable[..., Any]) -> Callable[..., Any]:
    def failing(first: Any, *others: Any, **more: Any) -> Any:
        if word in str(first):
            raise RecursionError
        return step(first, *others, **more)

    return failing


@pytest.mark.parametrize(
    ("module", "step"),
    [(listener_claims, "read_annotations"), (claimants, "read"), (host_state, "_hosts"), (checks, "refusal")],
)
def test_an_error_over_an_object_changes_nothing_for_the_others(
    module: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = outcome(world([], {}), EMPTY)
    monkeypatch.setattr(module, step, failing_over("evil", getattr(module, step)))

    @examples(60)
    @given(INGRESSES, SECRETS, SERVICES)
    def hold(hostile: list[dict[str, Any]], secrets: dict[str, Any], services: list[dict[str, Any]]) -> None:
        assert outcome(world(hostile, secrets, services), EMPTY) == expected

    hold()
