"""Alerts and rows in a world of several Ingresses on one listener, one of which has a good certificate."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
import yaml

from certferry.core.decide import decide
from certferry.core.diagnosis.alert import Alert
from certferry.core.diagnosis.alert_rules import AlertInput, AlertRules, evaluate_alerts
from certferry.core.diagnosis.cluster import ClusterDiagnosis, diagnose
from certferry.core.diagnosis.inventory import CertificateInfo, watched
from certferry.core.drift.drift import Modes
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import translate
from certferry.core.x509.chain import ChainCertificate
from certferry.core.x509.expiry import Limits
from tests.core.support.fixtures import BALANCER, CLUSTER, NOW, Elb, observed, view
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
        "demo/old3-tls": "CertificateRejected",
        "team/live-tls": "SecretUnreadable",
        "team/sso-tls": "CertificateRejected",
    }
    assert all(alert.urgency == "critical" for alert in alerts.values())
    old = alerts["demo/old3-tls"]
    assert old.hosts == ("old3.example.test",)
    assert "get the certificate of Secret demo/hello-tls" in old.summary
    assert "which does not cover old3.example.test" in old.summary
    assert "demo/old3-tls" in old.command


def test_an_alert_rule_that_raises_does_not_stop_the_others() -> None:
    days = timedelta(days=90)
    late, odd = (
        CertificateInfo(id=n, name=n, role="served", not_before=NOW - days, not_after=end, fingerprint="")
        for n, end in (("late", NOW), ("odd", NOW.replace(tzinfo=None)))
    )
    inputs = AlertInput(watched=(late, odd), failures=(("listener x", "no"),), disconnected={"ELB": "away"})
    failed: list[tuple[str, type[Exception]]] = []
    alerts = evaluate_alerts(inputs, AlertRules(), NOW, lambda rule, error: failed.append((rule, type(error))))
    assert {a.name for a in alerts} == {"CertificateExpired", "LoadBalancerRejected", "Disconnected"}
    assert failed == [("expiry", TypeError), ("stalled rotations", TypeError)]
    with pytest.raises(TypeError):
        evaluate_alerts(inputs, AlertRules(), NOW)


def test_a_served_compromised_key_is_an_alert_of_its_own_and_a_replaced_one_is_not() -> None:
    given = yaml.safe_load((TESTDATA / "host-state/compromised-keys.in.yaml").read_text())
    options = msgspec.structs.replace(OPTIONS, compromised=frozenset(given["options"]["compromised"]))
    cluster, elb = view(given), Elb(observed(given["observed"]))
    elb.chains |= {s.chain.digest: s.chain for s in cluster.secrets.values() if s.chain}
    decision = decide(translate(cluster, elb.state, options, NOW), elb.state, CLUSTER, Modes())
    elb.ids = dict(decision.ids)
    elb.run(decision.steps)
    alerts = _alerts(diagnose(cluster, elb.state, options, NOW, Limits()))
    assert {(a.name, subject, a.hosts) for subject, a in alerts.items()} == {
        ("CertificateCompromised", "team/alone", ("c.example.net",)),
        ("CertificateCompromised", "by-hand", ("d.example.net",)),
        ("CertificateDefective", "team/replaced", ("a.example.com",)),
    }
    assert alerts["team/alone"].urgency == "critical"
    assert "certferry cert replace team/alone" in alerts["team/alone"].command


def test_an_intermediate_that_expires_before_its_leaf_is_an_alert_before_it_does() -> None:
    soon, days = NOW + timedelta(days=2), timedelta(days=30)
    certificate = CertificateInfo(
        id="c",
        name="site",
        role="served",
        not_before=NOW - days,
        not_after=NOW + days,
        fingerprint="",
        intermediate=ChainCertificate(
            subject="CN=Old CA",
            issuer="CN=Root",
            not_before=NOW - 100 * days,
            not_after=soon,
            key="P-256",
            signature="SHA256",
            authority=True,
            signed_by_next=False,
            fingerprint="",
        ),
    )
    inputs = AlertInput(watched=(certificate,))
    (alert,) = evaluate_alerts(inputs, AlertRules(), NOW)
    assert alert.name == "RenewalUrgent"
    assert alert.summary.startswith("CN=Old CA in the chain of the certificate site expires on")
    (alert,) = evaluate_alerts(inputs, AlertRules(), soon)
    assert alert.name == "CertificateExpired"
