"""Dispatch of reconcile and rotation results to Events, annotations, alerts, metrics and the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import structlog

from certferry.controller.report.alert_state import AlertEvaluator
from certferry.controller.report.drift import DriftReporter
from certferry.controller.report.event_recorder import EventMessage
from certferry.controller.report.messages import (
    bounded_events,
    failure_targets,
    host_events,
    hosts_annotation,
    ingress_status,
    ownership_change_events,
    problem_events,
    rotation_annotation,
    rotation_events,
    service_releases,
    stale_annotations,
)
from certferry.controller.report.status_writer import StatusWriter
from certferry.controller.sync.apply import Failure
from certferry.controller.sync.generation import Generation
from certferry.controller.verify.rotation import RotationResult
from certferry.core.diagnosis.cluster import ClusterDiagnosis
from certferry.core.diagnosis.host_state import HostState
from certferry.core.drift.drift import Drift
from certferry.core.model.kubernetes import Name
from certferry.core.plan.steps import Step
from certferry.core.translate.listener_claims import TranslateOptions, owned_ingresses
from certferry.core.translate.services.claimants import KIND
from certferry.core.translate.translate import Translation
from certferry.kube.client.cache import Cache
from certferry.runtime.metrics import Metrics

_log = structlog.get_logger()


class ReportDispatcher:
    """Dispatches the results of one controller."""

    def __init__(
        self,
        metrics: Metrics,
        cache: Cache,
        options: TranslateOptions,
        status_writer: StatusWriter,
        alert_evaluator: AlertEvaluator,
        drift_reporter: DriftReporter,
    ) -> None:
        self._metrics = metrics
        self._cache = cache
        self._options = options
        self._status_writer = status_writer
        self._alert_evaluator = alert_evaluator
        self._drift_reporter = drift_reporter
        self._drifts: list[EventMessage] = []

    def planned(self, steps: Iterable[Step]) -> None:
        """Publish the newest plan as a metric, executed or not."""
        self._metrics.planned_steps.clear()
        for (kind, verb), number in Counter((s.kind, s.verb) for s in steps).items():
            self._metrics.planned_steps.labels(kind, verb).set(number)

    def log_start(self, steps: Iterable[Step]) -> None:
        """Log the steps that are about to be executed."""
        for step in steps:
            _log.info("step", step=_title(step), why=step.why)

    def log_failures(self, failures: Iterable[Failure]) -> None:
        """Log the steps that the ELB rejected."""
        for failure in failures:
            _log.warning("step rejected", step=_title(failure.step), why=failure.sentence)

    async def drift(self, drifts: Sequence[Drift], translation: Translation, adopted: Mapping[Drift, str]) -> None:
        """Report drift: reverted and adopted changes once, the others while they last."""
        self._metrics.drift.clear()
        for drift in drifts:
            self._metrics.drift.labels(drift.kind, drift.mode).inc()
        news = await self._drift_reporter.news(drifts, translation, adopted)
        self._drifts = news.standing
        wrong = [n for n in news.standing if n.type == "Warning"]  # an accepted change is no alert
        self._alert_evaluator.update_from_drift(n.sentence for n in (*news.once, *wrong))
        if news.once:
            _log.warning("changed on the load balancer by another client", changes=[n.sentence for n in news.once])
            self._status_writer.record(news.once)

    def publish_state(self, diagnosis: ClusterDiagnosis, failures: Sequence[Failure] = ()) -> None:
        """Report the present state, with the steps that the ELB rejected."""
        view, state, translation = diagnosis.view, diagnosis.observed, diagnosis.translation
        self._alert_evaluator.update_from_reconcile(diagnosis, failures)
        ours = {i.meta.key for i in owned_ingresses(view, self._options)}
        others = {n: status for n in view.ingresses.keys() - ours if (status := self._cache.reported(n))}
        hosts: dict[Name, list[HostState]] = {}
        for host, claim in ((s, claim) for s in diagnosis.states for claim in s.claims):
            hosts.setdefault(claim, []).append(host)
        idle = {s.meta.key._replace(kind=KIND): s for s in view.services.values()}
        idle = {n: s for n, s in idle.items() if n not in translation.status}
        held = {n: status for n in idle if (status := self._cache.reported(n))}
        reported = {n: status for n in translation.status if (status := self._cache.reported(n))}
        events = [
            *problem_events(translation),
            *ownership_change_events(translation, reported),
            *self._drifts,
            *(notice for failure in failures for notice in failure_targets(failure, translation)),
            *self._alert_evaluator.notices(),
        ]
        self._status_writer.standing(
            bounded_events([*events, *host_events(diagnosis.states, events)]),
            {
                name: msgspec.structs.replace(
                    ingress_status(status, translation, state, translation.claimants[name].meta),
                    hosts=hosts_annotation(hosts.get(name, ())),
                )
                for name, status in translation.status.items()
            }
            | service_releases(idle, held, state),
            stale_annotations(others, self._status_writer.ingresses, state),
        )
        self._count(diagnosis)

    def publish_rotation(self, rotation: RotationResult, generation: Generation | None) -> None:
        """Report the result of a rotation; the newest `generation` names its source."""
        if rotation.error:
            _log.warning("certificate not served", fingerprint=rotation.fingerprint[:16], why=rotation.error)
        self._alert_evaluator.update_from_rotation(rotation)
        for ingress in rotation.ingresses:
            for instant in ("changed", "accepted", "served"):
                at = getattr(rotation, instant)
                self._metrics.rotation_instant.labels(ingress.namespace, ingress.name, instant).set(at or 0)
        self._status_writer.rotated(
            rotation_events(rotation, generation),
            [i.claimant for i in rotation.ingresses],
            rotation_annotation(rotation),
        )

    def _count(self, diagnosis: ClusterDiagnosis) -> None:
        self._metrics.hosts.clear()
        for status, number in Counter(s.status for s in diagnosis.states).items():
            self._metrics.hosts.labels(status).set(number)
        self._metrics.problems.clear()
        for problem in diagnosis.translation.problems:
            if problem.secret is None:  # else it is counted on the Secret
                self._metrics.problems.labels(problem.reason).inc()


def _title(step: Step) -> str:
    return f"{step.verb} {step.kind} {step.name or step.key}"
