"""Lists project host states: the own Secret's state, never the days of the certificate that stands in for it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from certferry.console.judge.hosts import expiries, host_badge, own_expiry
from certferry.console.state.cluster_view import DerivedState, derive
from certferry.core.decide import decide
from certferry.core.drift.drift import Modes
from certferry.core.model.kubernetes import Name
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import translate
from certferry.core.x509.expiry import Limits
from tests.core.support.fixtures import BALANCER, CLUSTER, NOW, Elb, observed, view
from tests.support.golden import TESTDATA

GIVEN: dict[str, Any] = yaml.safe_load(
    (TESTDATA / "host-state" / "one-good-host-among-broken-ones.in.yaml").read_text()
)


def derived(*, secrets: bool = True) -> DerivedState:
    """Return the derived state of the golden case once its plan is carried out."""
    options = TranslateOptions(cluster_name="test", default_loadbalancer=BALANCER.id)
    elb, cluster = Elb(observed(GIVEN["observed"])), view(GIVEN)
    elb.chains |= {s.chain.digest: s.chain for s in cluster.secrets.values() if s.chain}
    decision = decide(translate(cluster, elb.state, options, NOW), elb.state, CLUSTER, Modes())
    elb.ids = dict(decision.ids)
    elb.run(decision.steps)
    shown = cluster if secrets else view({**GIVEN, "secrets": []})
    return derive(shown, elb.state, options, Limits(), NOW, secrets=secrets)


@pytest.mark.parametrize(
    ("namespace", "name", "expires", "status"),
    [
        ("demo", "hello", "69 days left", None),
        ("demo", "old3", "Expired 22 days ago", "Wrong certificate served"),
        ("team", "sso", "Cannot be served", "Wrong certificate served"),
        ("team", "live", "Cannot be served", "Wrong certificate served"),
    ],
)
def test_an_ingress_shows_its_own_secret_and_not_the_certificate_in_its_place(
    namespace: str, name: str, expires: str, status: str | None
) -> None:
    ingress, state = Name(namespace, name), derived()
    hosts = state.hosts_by_ingress[ingress]
    own, badge = own_expiry(hosts, ingress, NOW, Limits()), host_badge(hosts)
    assert own
    assert own.badge.word == expires
    assert (badge.word if badge else None) == status


def test_unserved_certificates_of_an_ingress_come_first() -> None:
    state = derived()
    entries = expiries(state.hosts, NOW, Limits())
    unusable = {str(entry.source) for entry in entries if not entry.usable}
    assert {f"Secret {name}" for name in ("demo/old3-tls", "team/sso-tls", "team/live-tls")} <= unusable
    assert [entry.usable for entry in entries] == sorted(entry.usable for entry in entries)
    assert all(entry.badge.level == "bad" for entry in entries if not entry.usable)
    assert len({entry.source for entry in entries}) == len(entries)


def test_a_reader_who_sees_no_secret_is_shown_what_is_bound() -> None:
    state = derived(secrets=False)
    hosts = state.hosts_by_ingress[Name("demo", "hello")]
    own = own_expiry(hosts, Name("demo", "hello"), NOW, Limits())
    assert host_badge(hosts) is None
    assert own
    assert own.usable
    assert own.badge.level == "good"
    badge = host_badge(state.hosts_by_ingress[Name("demo", "old3")])
    assert badge
    assert badge.word == "Wrong certificate served"
    assert "Secret demo/old3-tls" not in badge.hint
