"""Dry run of a reconcile: derive all that follows from a translation, and drop the results.

``translate_cluster`` calls it after an unexpected error, so that the object at fault is skipped whichever step fails over it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from certferry.controller.report.messages import ingress_status, problem_events
from certferry.controller.sync.next_expiry import next_validity_change
from certferry.controller.verify.rotation import expected_certificates
from certferry.core.decide import decide
from certferry.core.diagnosis.alert_rules import AlertInput, AlertRules, evaluate_alerts
from certferry.core.diagnosis.cluster import TranslatedCluster, with_host_states
from certferry.core.diagnosis.inventory import watched
from certferry.core.drift.drift import Modes


def dry_run(cluster: TranslatedCluster, rules: AlertRules, modes: Modes) -> None:
    """Run the pure steps that follow a translation. Raises what they raise."""
    view, observed, translation = cluster.view, cluster.observed, cluster.translation
    now = datetime.now(UTC)
    decide(translation, observed, view.cluster_id, modes)
    next_validity_change(translation, view, observed, now)
    expected_certificates(translation, observed)
    diagnosis = with_host_states(cluster, now, rules.limits)
    problem_events(translation)
    for name, status in translation.status.items():
        ingress_status(status, translation, observed, translation.claimants[name].meta)
    inputs = AlertInput(
        watched=watched(diagnosis), problems=translation.problems, states=diagnosis.states, view=diagnosis.view
    )
    evaluate_alerts(inputs, rules, now)
