"""Alerts and rows in a world of several Ingresses on one listener, one of which has a good certificate."""

from __future__ import annotations

import yaml

from certferry.core.diagnosis.alert import Alert
from certferry.core.diagnosis.alert_rules import AlertInput, AlertRules, evaluate_alerts
from certferry.core.diagnosis.cluster import ClusterDiagnosis, diagnose
from certferry.core.diagnosis.inventory import needing_action, source_rows, watched
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.x509.expiry import Limits
from tests.core.support.fixtures import BALANCER, NOW, observed, view
from tests.support.golden import TESTDATA

OPTIONS = TranslateOptions(cluster_name="test", default_loadbalancer=BALANCER.id)


def _world() -> ClusterDiagnosis:
    given = yaml.safe_load((TESTDATA / "host-state/one-good-host-among-broken-ones.in.yaml").read_text())
    return diagnose(view(given), observed(given["observed"]), OPTIONS, NOW, Limits())


def _alerts(world: ClusterDiagnosis) -> dict[str, Alert]:
    known = AlertInput(
        watched=watched(world), problems=world.translation.problems, states=world.states, view=world.view
    )
    return {alert.subject: alert for alert in evaluate_alerts(known, AlertRules(), NOW)}


def test_each_broken_secret_is_one_alert_with_the_served_certificate() -> None:
    alerts = _alerts(_world())
    assert {subject: alert.name for subject, alert in alerts.items()} == {
        "demo/old3-tls": "CertificateExpired",
        "team/live-tls": "SecretUnreadable",
        "team/sso-tls": "CertificateRejected",
    }
    assert all(alert.urgency == "critical" for alert in alerts.values())
    old = alerts["demo/old3-tls"]
    assert old.hosts == ("old3.example.test",)
    assert "get the certificate of Secret demo/hello-tls" in old.summary
    assert "which does not cover old3.example.test" in old.summary
    assert "demo/old3-tls" in old.command


def test_unserved_wishes_of_an_ingress_come_first() -> None:
    rows = source_rows(_world())
    first = [str(row.source) for row in rows if row.needs_action]
    assert [str(row.source) for row in rows][: len(first)] == first
    assert {"Secret demo/old3-tls", "Secret team/live-tls", "Secret team/sso-tls"} <= {*first}
    assert "Secret demo/hello-tls" not in first
    assert {str(row.source) for row in needing_action(rows)} >= {*first}


def test_the_row_of_a_broken_secret_has_its_own_expiry_and_next_action() -> None:
    rows = {str(row.source): row for row in source_rows(_world())}
    old, missing = rows["Secret demo/old3-tls"], rows["Secret team/live-tls"]
    assert old.status == "wrong"
    assert old.expires is not None
    assert old.expires < NOW
    assert "demo/old3-tls" in old.next_action
    assert missing.expires is None
    assert missing.reason == "SecretNotFound"
