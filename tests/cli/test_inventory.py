"""Rows of `certferry cert ls` and `expiring` in a world with one good and several bad certificates."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml

from certferry.cli.cert import rows as certificate_rows
from certferry.cli.cert.lookup import FleetSnapshot
from certferry.clusters.cluster import ClusterAccess
from certferry.clusters.snapshot import ClusterSnapshot
from certferry.core.checks import CheckPolicy
from certferry.core.decide import decide
from certferry.core.drift.drift import Modes
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import translate
from certferry.core.x509.expiry import Limits
from certferry.settings import UserError
from tests.core.support.fixtures import BALANCER, CLUSTER, NOW, Elb, observed, view
from tests.support import golden


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> FleetSnapshot:
    """Return the world of part D of the defects, once the controller has acted."""
    path = golden.TESTDATA / "host-state" / "one-good-host-among-broken-ones.in.yaml"
    given: Any = yaml.safe_load(path.read_text())
    elb, cluster = Elb(observed(given["observed"])), view(given)
    options = TranslateOptions(cluster_name="test", default_loadbalancer=BALANCER.id)
    elb.chains |= {s.chain.digest: s.chain for s in cluster.secrets.values() if s.chain}
    decision = decide(translate(cluster, elb.state, options, NOW), elb.state, CLUSTER, Modes())
    elb.ids = dict(decision.ids)
    elb.run(decision.steps)
    snapshot = ClusterSnapshot(
        cluster=ClusterAccess(name="test"), observed=elb.state, extensions=frozenset(), options=options, view=cluster
    )
    monkeypatch.setattr("certferry.cli.cert.rows.datetime", Clock)
    monkeypatch.setattr("certferry.cli.cert.lookup.datetime", Clock)
    return FleetSnapshot([snapshot], 0, Limits(), CheckPolicy())


class Clock:
    """A clock that stands at the time of the golden cases."""

    @staticmethod
    def now(_: Any) -> Any:
        return NOW


def test_every_wanted_certificate_has_a_row_with_the_status_of_its_hosts(fleet: FleetSnapshot) -> None:
    rows = {row["secret"]: row["status"] for row in certificate_rows.inventory(fleet)}
    assert rows["demo/hello-tls"] == "served"
    assert rows["team/live-tls"] == "missing (SecretNotFound)"
    assert rows["team/sso-tls"] == "unusable (CertificateUnusable)"
    assert "CertificateExpired" in rows["demo/old3-tls"]


def test_a_row_names_the_cause_and_the_secret_to_change(fleet: FleetSnapshot) -> None:
    rows = {row["secret"]: row for row in certificate_rows.inventory(fleet)}
    old = rows["demo/old3-tls"]
    assert old["hosts"] == ["old3.example.test"]
    assert old["needs_action"]
    assert "demo/old3-tls" in old["next"]
    assert "hello" not in old["why"] + old["next"]
    assert not rows["demo/hello-tls"]["needs_action"]


def test_an_expired_certificate_that_a_host_wants_counts_as_used(fleet: FleetSnapshot) -> None:
    rows = {row["secret"]: row for row in certificate_rows.inventory(fleet)}
    assert rows["demo/old3-tls"]["used"]
    assert certificate_rows.late(rows["demo/old3-tls"])


def test_a_host_means_the_certificate_that_a_listener_selects_for_it(fleet: FleetSnapshot) -> None:
    def secrets(word: str) -> list[str]:
        return [str(located.secret) for located in fleet.matching(word)]

    assert secrets("shop.apps.example.test") == ["apps/shop-tls"]
    assert secrets("new.apps.example.test") == ["apps/wildcard-tls"]
    assert secrets("hello.example.test") == ["demo/hello-tls"]
    with pytest.raises(UserError, match="No certificate is"):
        fleet.matching("old3.example.test")


def test_rows_are_values_that_json_can_hold(fleet: FleetSnapshot) -> None:
    assert msgspec.json.encode(certificate_rows.inventory(fleet))
