"""The inputs of alerts, and what follows from them: alerts, Events about expiry, metrics of certificates.

Each evaluation derives everything from the newest diagnosis, probes, drift and connections by the rules of
``core.diagnosis.alert_rules``. ``certferry.alerts`` delivers ``AlertEvaluator.alerts``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import structlog

from certferry.controller.report.event_recorder import EventMessage
from certferry.controller.sync.apply import Failure
from certferry.controller.verify.rotation import RotationResult
from certferry.core.diagnosis import alert_rules
from certferry.core.diagnosis.alert import Alert
from certferry.core.diagnosis.alert_rules import AlertInput, AlertRules
from certferry.core.diagnosis.cluster import ClusterDiagnosis
from certferry.core.diagnosis.inventory import CertificateInfo, watched
from certferry.core.model import quarantine
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import ClusterView, ObjectRef
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.services.claimants import claimant_of
from certferry.core.x509 import expiry
from certferry.runtime.latest import Latest
from certferry.runtime.metrics import Metrics

_log = structlog.get_logger()

ConnectionErrors = Callable[[], Mapping[str, tuple[str, float]]]
"""Remotes that do not answer: the error, and since which monotonic second."""

EVALUATE_DELAY = 1.0
"""Seconds in which rotations are collected, because an evaluation reads every certificate."""

EVENT_ALERTS: tuple[str, ...] = ("RenewalLate", "RenewalUrgent", "RenewalCritical", "CertificateExpired")
"""Alerts that are Kubernetes Events too. The reasons of the others have Events of their own."""


class AlertEvaluator:
    """Evaluates the alerts of one controller and publishes them in `alerts`."""

    def __init__(
        self, metrics: Metrics, options: TranslateOptions, rules: AlertRules, connection_errors: ConnectionErrors
    ) -> None:
        self._metrics = metrics
        self._rules = rules
        self._connection_errors = connection_errors
        self._inputs = AlertInput(cluster=options.cluster_name)
        self._state = State()
        self._own: tuple[CertificateInfo, ...] = ()
        self._drift: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.alerts: Latest[tuple[Alert, ...]] = Latest(())

    def update_from_reconcile(self, diagnosis: ClusterDiagnosis, failures: Sequence[Failure]) -> None:
        """Take the newest diagnosis and the steps that the ELB rejected."""
        translation = diagnosis.translation
        failed = {
            follow.secret: f.sentence
            for f in failures
            if (follow := translation.secret_uses.get(f.step.key.removeprefix("@certificate/")))
        }
        self._state = diagnosis.observed
        self._inputs = msgspec.structs.replace(
            self._inputs,
            watched=watched(diagnosis, failed),
            problems=translation.problems,
            states=diagnosis.states,
            view=diagnosis.view,
            failures=tuple((f"{f.step.kind} {f.step.name or f.step.key}", f.sentence) for f in failures),
        )
        self.evaluate()

    def update_from_drift(self, sentences: Iterable[str]) -> None:
        """Take the sentences about changes by other clients on the load balancer."""
        self._drift |= dict.fromkeys(sentences, time.monotonic())

    def update_from_rotation(self, rotation: RotationResult) -> None:
        """Take the instant of a rotation."""
        if rotation.served is not None:
            self._inputs = msgspec.structs.replace(
                self._inputs, last_rotation=datetime.fromtimestamp(rotation.served, UTC)
            )
            self._metrics.last_rotation.set(rotation.served)
        stalled = any(a.name == "RotationStalled" for a in self.alerts.value)
        if self._timer is None and stalled:
            self._timer = asyncio.get_running_loop().call_later(EVALUATE_DELAY, self.evaluate)

    def update_from_own_certificates(self, own: tuple[CertificateInfo, ...]) -> None:
        """Take the certificates of the system itself, as they were last seen."""
        self._own = own
        self.evaluate()

    def evaluate(self) -> None:
        """Derive alerts and metrics from the present inputs."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now, clock = datetime.now(UTC), time.monotonic()
        self._drift = {s: at for s, at in self._drift.items() if clock - at < self._rules.drift_shown}
        away = {
            remote: why
            for remote, (why, since) in self._connection_errors().items()
            if clock - since >= self._rules.disconnected_after
        }
        inputs = msgspec.structs.replace(
            self._inputs,
            watched=(*self._inputs.watched, *self._own),
            drift=tuple(sorted(self._drift)),
            disconnected=away,
        )
        broken: list[str] = []

        def failed(rule: str, error: Exception) -> None:
            broken.append(rule)
            _log.error("alert rule failed", rule=rule, error=type(error).__name__, exc_info=error)

        alerts = alert_rules.evaluate_alerts(inputs, self._rules, now, failed)
        if broken:  # an alert that was not evaluated is not resolved
            before = {a.identity: a for a in self.alerts.value}
            alerts = tuple(sorted((before | {a.identity: a for a in alerts}).values()))
        self._measure(inputs, alerts, now)
        self.alerts.set(alerts)

    def notices(self) -> list[EventMessage]:
        """Return Events about expiry: on the Secret, else on the Ingresses that use the certificate."""
        told = [a for a in self.alerts.value if a.name in EVENT_ALERTS]
        by_name = {w.name: w for w in self._inputs.watched}
        return [
            EventMessage(object=about, type="Warning", reason=a.name, sentence=a.told)
            for a in told
            if (it := by_name.get(a.subject))
            for about in _objects(it, self._inputs.view)
            if not any((p.object, p.reason) == (about, a.name) for p in self._inputs.problems)
        ]

    def _measure(self, inputs: AlertInput, alerts: tuple[Alert, ...], now: datetime) -> None:
        metrics, limits = self._metrics, self._rules.limits
        for gauge in (
            metrics.remaining_lifetime,
            metrics.certificate_expires,
            metrics.certificates,
            metrics.not_served,
            metrics.alert,
        ):
            gauge.clear()
        due = 0
        for info in inputs.watched:
            state = expiry.state(info.not_before, info.not_after, now, limits)
            labels = (info.id, info.name, info.role)
            metrics.certificate_expires.labels(*labels).set(info.not_after.timestamp())
            metrics.remaining_lifetime.labels(*labels).set(expiry.left(info.not_before, info.not_after, now))
            metrics.certificates.labels(info.role, state).inc()
            due += info.used and state != "good"
        metrics.renewals_late.set(due)
        metrics.quarantined.set(
            sum(1 for c in self._state.certificates.values() if quarantine.quarantined_mark(c.description))
        )
        for _, shown in alert_rules.mismatches(inputs.states):
            metrics.not_served.labels("wrong" if shown.reached else "unreachable").inc()
        for a in alerts:
            metrics.alert.labels(
                a.name, a.urgency, a.cluster, a.subject, ",".join(a.hosts), a.owner, a.source, a.command
            ).set(1)


def _objects(it: CertificateInfo, view: ClusterView | None) -> list[ObjectRef]:
    if it.origin and it.origin.secret:
        return [it.origin.secret.ref]
    claimants = (claimant_of(view, name) for name in it.ingresses) if view else ()
    return [one.ref for one in claimants if one]
