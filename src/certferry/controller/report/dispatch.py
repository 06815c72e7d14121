"""Who is told what a reconcile found and a rotation brought: Events, alerts, metrics, the log.

``reconcile`` and the loop call it. Words are chosen in ``notices``, written by ``report``; this brings the
right ones to the right place and decides nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import structlog

from certferry.controller.report.alert_state import AlertEvaluator
from certferry.controller.report.drift import DriftReporter
from certferry.controller.report.event_recorder import EventMessage
from certferry.controller.report.messages import (
    failure_targets,
    ingress_status,
    ownership_change_events,
    problem_events,
    rotation_annotation,
    rotation_events,
    stale_annotations,
)
from certferry.controller.report.status_writer import StatusWriter
from certferry.controller.sync.apply import Failure
from certferry.controller.sync.inputs import ReconcileInput
from certferry.controller.verify.rotation import RotationResult
from certferry.core.drift.drift import Drift
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import Name
from certferry.core.plan.steps import Step
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.listener_claims import ours as claimed
from certferry.core.translate.translate import Translation
from certferry.kube.client.cache import Cache
from certferry.runtime.metrics import Metrics

_log = structlog.get_logger()


class ReportDispatcher:
    """One controller's."""

    def __init__(
        self,
        metrics: Metrics,
        cache: Cache,
        options: TranslateOptions,
        reporter: StatusWriter,
        watchman: AlertEvaluator,
        drifting: DriftReporter,
    ) -> None:
        self._metrics = metrics
        self._cache = cache
        self._options = options
        self._reporter = reporter
        self._watchman = watchman
        self._drifting = drifting
        self._drifts: list[EventMessage] = []

    def planned(self, steps: Iterable[Step]) -> None:
        """The newest plan, to be carried out or not."""
        self._metrics.planned.clear()
        for (kind, verb), number in Counter((s.kind, s.verb) for s in steps).items():
            self._metrics.planned.labels(kind, verb).set(number)

    def log_start(self, steps: Iterable[Step]) -> None:
        """They are carried out now."""
        for step in steps:
            _log.info("step", step=_title(step), why=step.why)

    async def drift(
        self, drifts: Sequence[Drift], translation: Translation, adopted: Mapping[Drift, str]
    ) -> None:
        """What others changed: what is put right or taken is told now, the rest as long as it is so."""
        self._metrics.drift.clear()
        for found in drifts:
            self._metrics.drift.labels(found.kind, found.mode).inc()
        news = await self._drifting.news(drifts, translation, adopted)
        self._drifts = news.standing
        wrong = [n for n in news.standing if n.type == "Warning"]  # what is agreed to is no alert
        self._watchman.update_from_drift(n.sentence for n in (*news.once, *wrong))
        if news.once:
            _log.warning("changed on the load balancer by others", what=[n.sentence for n in news.once])
            self._reporter.record(news.once)

    def publish_state(self, picture: ReconcileInput, failures: Sequence[Failure] = ()) -> None:
        """What is so now, with what the ELB refused."""
        view, state, translation = picture
        for failure in failures:
            _log.warning("step refused", step=_title(failure.step), why=failure.sentence)
        self._watchman.update_from_reconcile(view, state, translation, failures)
        ours = {i.meta.key for i in claimed(view, self._options)}
        others = {n: stands for n in view.ingresses.keys() - ours if (stands := self._cache.reported(n))}
        written = {n: it for n in translation.status if (it := self._cache.reported(n))}
        self._reporter.standing(
            [
                *problem_events(translation),
                *ownership_change_events(translation, written),
                *self._drifts,
                *(notice for failure in failures for notice in failure_targets(failure, translation)),
                *self._watchman.notices(),
            ],
            {
                name: ingress_status(status, translation, state, view.ingresses[name])
                for name, status in translation.status.items()
            },
            stale_annotations(others, self._reporter.ingresses, state),
        )
        self._count(translation, state)

    def publish_rotation(self, rotation: RotationResult) -> None:
        """How a rotation ended."""
        if rotation.trouble:
            _log.warning(
                "certificate not served", fingerprint=rotation.fingerprint[:16], why=rotation.trouble
            )
        self._watchman.update_from_rotation(rotation)
        ingresses = sorted({seat.ingress for seat in rotation.seats})
        for it in ingresses:
            for instant in ("changed", "accepted", "served"):
                at = getattr(rotation, instant)
                self._metrics.instants.labels(it.namespace, it.name, instant).set(at or 0)
        self._reporter.rotated(
            rotation_events(rotation),
            [Name(i.namespace, i.name) for i in ingresses],
            rotation_annotation(rotation),
        )

    def _count(self, translation: Translation, state: State) -> None:
        self._metrics.problems.clear()
        for problem in translation.problems:
            self._metrics.problems.labels(problem.reason).inc()
        self._metrics.expiry.clear()
        for certificate in state.certificates.values():
            if certificate.chain:
                source = certificate.source
                whose = (source.namespace, source.secret) if source else ("", "")
                self._metrics.expiry.labels(*whose, certificate.id).set(
                    certificate.chain.not_after.timestamp()
                )


def _title(step: Step) -> str:
    return f"{step.verb} {step.kind} {step.name or step.key}"
