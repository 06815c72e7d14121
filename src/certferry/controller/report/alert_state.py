"""Keeps what is known together, and derives what is to be told: alerts, Events, metrics of expiry.

The loop tells it what it decided, ``proof`` and ``patrol`` what clients see. What deserves an alert
is ``core.alarms``' affair, sending it that of ``alerts``: they read ``alerts`` here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from certferry.controller.report.event_recorder import EventMessage
from certferry.controller.sync.apply import Failure
from certferry.controller.sync.generation import Generation
from certferry.controller.verify.periodic import describe_mismatch
from certferry.controller.verify.rotation import RotationResult
from certferry.core.diagnosis import alert_rules as alarms
from certferry.core.diagnosis.alert import Alert
from certferry.core.diagnosis.alert_rules import AlertInput, AlertRules, ProbeMismatch
from certferry.core.diagnosis.inventory import CertificateInfo, watched
from certferry.core.model import quarantine
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import ClusterView, ObjectRef
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.x509 import expiry
from certferry.runtime.latest import Latest
from certferry.runtime.metrics import Metrics
from certferry.runtime.tls_probe import Target

ConnectionErrors = Callable[[], Mapping[str, tuple[str, float]]]
"""Remotes that do not answer: why, and since which monotonic second."""

EVALUATE_DELAY = 1.0
"""Seconds within which rotations are told of together: deriving looks at every certificate."""

EVENT_ALERTS: tuple[str, ...] = ("RenewalLate", "RenewalUrgent", "RenewalCritical", "CertificateExpired")
"""Alerts that are Kubernetes Events too; what the others say has Events of its own."""


class AlertEvaluator:
    """One controller's. Read ``alerts`` from outside."""

    def __init__(
        self, metrics: Metrics, options: TranslateOptions, rules: AlertRules, troubles: ConnectionErrors
    ) -> None:
        self._metrics = metrics
        self._rules = rules
        self._troubles = troubles
        self._known = AlertInput(cluster=options.cluster_name)
        self._state = State()
        self._own: tuple[CertificateInfo, ...] = ()
        self._drift: dict[str, float] = {}
        self._late: dict[Target, ProbeMismatch] = {}
        self._soon: asyncio.TimerHandle | None = None
        self.alerts: Latest[tuple[Alert, ...]] = Latest(())

    def update_from_reconcile(self, generation: Generation, failures: Sequence[Failure]) -> None:
        """Take the newest generation and the steps that the ELB rejected."""
        translation = generation.translation
        failed = {
            follow.secret: f.sentence
            for f in failures
            if (follow := translation.secret_uses.get(f.step.key.removeprefix("@certificate/")))
        }
        self._state = generation.observed
        self._known = msgspec.structs.replace(
            self._known,
            watched=watched(generation.diagnosis, failed),
            problems=translation.problems,
            states=generation.diagnosis.states,
            view=generation.view,
            failures=tuple((f"{f.step.kind} {f.step.name or f.step.key}", f.sentence) for f in failures),
        )
        self.evaluate()

    def update_from_drift(self, sentences: Iterable[str]) -> None:
        """What somebody else changed on the load balancer."""
        self._drift |= dict.fromkeys(sentences, time.monotonic())

    def update_from_rotation(self, rotation: RotationResult) -> None:
        """How a rotation ended at each place."""
        for seat in rotation.expected:
            self._late.pop(seat.target, None)
        for seat, sight in rotation.not_served:
            self._late[seat.target] = describe_mismatch(seat, sight)
        if rotation.served is not None:
            self._known = msgspec.structs.replace(
                self._known, last_rotation=datetime.fromtimestamp(rotation.served, UTC)
            )
            self._metrics.last_rotation.set(rotation.served)
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(EVALUATE_DELAY, self.evaluate)

    def update_from_probes(
        self, bad: Mapping[Target, ProbeMismatch], own: tuple[CertificateInfo, ...]
    ) -> None:
        """What a round of the patrol saw: the whole, so that what is well again is forgotten."""
        self._late = dict(bad)
        self._own = own
        self.evaluate()

    def evaluate(self) -> None:
        """Derive everything anew from what is known now."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        now, clock = datetime.now(UTC), time.monotonic()
        self._drift = {s: at for s, at in self._drift.items() if clock - at < self._rules.drift_shown}
        away = {
            remote: why
            for remote, (why, since) in self._troubles().items()
            if clock - since >= self._rules.disconnect_patience
        }
        by_key = {w.origin.secret.meta.uid: w.id for w in self._known.watched if w.origin and w.origin.secret}
        late = tuple(
            sorted(
                msgspec.structs.replace(
                    u, certificate=by_key.get(u.certificate.removeprefix("@certificate/"), u.certificate)
                )
                for u in self._late.values()
            )
        )
        known = msgspec.structs.replace(
            self._known,
            watched=(*self._known.watched, *self._own),
            unserved=late,
            drift=tuple(sorted(self._drift)),
            disconnected=away,
        )
        found = alarms.evaluate_alerts(known, self._rules, now)
        self._measure(known, found, now)
        self.alerts.set(found)

    def notices(self) -> list[EventMessage]:
        """Events about what expires, on the Secret, or on the Ingresses where there is none."""
        told = [a for a in self.alerts.value if a.name in EVENT_ALERTS]
        by_name = {w.name: w for w in self._known.watched}
        return [
            EventMessage(object=about, type="Warning", reason=a.name, sentence=a.told)
            for a in told
            if (it := by_name.get(a.subject))
            for about in _objects(it, self._known.view)
            if not any((p.object, p.reason) == (about, a.name) for p in self._known.problems)
        ]

    def _measure(self, known: AlertInput, found: tuple[Alert, ...], now: datetime) -> None:
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
        for it in known.watched:
            state = expiry.state(it.not_before, it.not_after, now, limits)
            labels = (it.id, it.name, it.role)
            metrics.certificate_expires.labels(*labels).set(it.not_after.timestamp())
            metrics.remaining_lifetime.labels(*labels).set(expiry.left(it.not_before, it.not_after, now))
            metrics.certificates.labels(it.role, state).inc()
            due += it.used and state != "good"
        metrics.renewals_late.set(due)
        metrics.quarantined.set(
            sum(1 for c in self._state.certificates.values() if quarantine.quarantined_mark(c.description))
        )
        for place in known.unserved:
            metrics.not_served.labels("wrong" if place.reachable else "unreachable").inc()
        for a in found:
            metrics.alert.labels(
                a.name, a.urgency, a.cluster, a.subject, ",".join(a.hosts), a.owner, a.source, a.command
            ).set(1)


def _objects(it: CertificateInfo, view: ClusterView | None) -> list[ObjectRef]:
    if it.origin and it.origin.secret:
        return [it.origin.secret.ref]
    return [view.ingresses[i].ref for i in it.ingresses if view and i in view.ingresses]
