"""Alerts of a controller when one of their rules fails."""

from __future__ import annotations

import pytest

from certferry.controller.report.alert_state import AlertEvaluator
from certferry.core.diagnosis import alert_rules
from certferry.core.diagnosis.alert_rules import AlertRules
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.runtime.metrics import Metrics


def test_a_rule_that_raises_resolves_no_alert_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    away: dict[str, tuple[str, float]] = {"the ELB": ("refused", -1e9)}
    evaluator = AlertEvaluator(Metrics(), TranslateOptions(cluster_name="c"), AlertRules(), lambda: away)
    evaluator.evaluate()
    assert [a.name for a in evaluator.alerts.value] == ["Disconnected"]

    def broken(*_: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr(alert_rules, "_disconnected", broken)
    evaluator.update_from_drift(["listener x was changed"])
    evaluator.evaluate()
    assert {a.name for a in evaluator.alerts.value} == {"Disconnected", "LoadBalancerDrift"}
    monkeypatch.undo()
    away.clear()
    evaluator.evaluate()
    assert [a.name for a in evaluator.alerts.value] == ["LoadBalancerDrift"]
