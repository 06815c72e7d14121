"""The controller's loop: it decides when to reconcile, and connects the parts.

It reconciles shortly after a change, at each resync, when a certificate becomes valid or expires, and again with
back-off after a failure. Each reconcile starts from scratch, so that nothing depends on a missed event.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import structlog

from certferry.controller.dry_run import dry_run
from certferry.controller.mode import ControllerMode
from certferry.controller.reconciler import Reconciler, ReconcilerDependencies
from certferry.controller.report.alert_state import AlertEvaluator
from certferry.controller.report.dispatch import ReportDispatcher
from certferry.controller.report.drift import DriftReporter
from certferry.controller.report.host_reporter import HostReporter
from certferry.controller.report.messages import finding_event, rollback_events
from certferry.controller.report.status_writer import StatusWriter
from certferry.controller.sync.apply import ApplyContext
from certferry.controller.sync.connection_state import ConnectionState
from certferry.controller.sync.debounce import Debouncer, Timing
from certferry.controller.sync.elb_backoff import ElbBackoff
from certferry.controller.sync.endpoints_fast_path import EndpointsFastPath, only_endpoints
from certferry.controller.sync.generation import Generations
from certferry.controller.sync.inputs import InputReader
from certferry.controller.sync.isolated_translation import IsolatedTranslation
from certferry.controller.sync.observed_state import ObservedState
from certferry.controller.sync.secret_fast_path import SecretFastPath
from certferry.controller.verify.data_plane_rejection import DataPlaneRejection
from certferry.controller.verify.periodic import PeriodicProber
from certferry.controller.verify.rollback import Rollback
from certferry.controller.verify.rotation import RotationResult, RotationVerifier
from certferry.core.changed_keys import changed_keys
from certferry.core.checks import Finding
from certferry.core.drift.detect_unmarked import NOTHING
from certferry.core.model.elb import Certificate
from certferry.core.model.kubernetes import ClusterView, ObjectRef
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.x509.pem import Chain
from certferry.elb.client.client import ElbClient, ElbError
from certferry.elb.client.extensions import Record
from certferry.elb.client.follow_events import follow_events
from certferry.kube.client.cache import Cache, SecretUpdate
from certferry.kube.client.client import KubeClient, KubeError
from certferry.runtime.backoff import Backoff
from certferry.runtime.latest import Latest
from certferry.runtime.metrics import Metrics

RESTART: Final = (0.1, 30.0)
"""Seconds until a part is started again after an unexpected error: the first time, the longest."""

SINGLE_REPLICA: Final = ControllerMode()

_log = structlog.get_logger()


class Controller:
    """The controller of one cluster and one ELB."""

    def __init__(
        self,
        kube: KubeClient,
        elb: ElbClient,
        options: TranslateOptions,
        timing: Timing,
        mode: ControllerMode = SINGLE_REPLICA,
    ) -> None:
        self.metrics = Metrics()
        self._mode = mode
        self._elb = elb
        self._observed = ObservedState()
        self._timing = timing
        self._debouncer = Debouncer(timing)
        self._backoff = ElbBackoff()
        self._generations: Generations = Latest(None)
        self._kube_connection = ConnectionState("kubernetes", self.metrics)
        self._elb_connection = ConnectionState("elb", self.metrics)
        self._cache = Cache(kube, self._secret_changed, mode.scope, elb.derived_key("claimed-since"))
        context = ApplyContext(
            elb=elb, kube=kube, observed=self._observed, metrics=self.metrics, secret=self._cache.secret
        )
        monitoring = mode.monitoring
        self.alert_evaluator = AlertEvaluator(self.metrics, options, monitoring.rules, self._connection_errors)
        self._drift_reporter = DriftReporter(elb)
        self._status_writer = StatusWriter(kube, self._cache)
        dispatcher = ReportDispatcher(
            self.metrics, self._cache, options, self._status_writer, self.alert_evaluator, self._drift_reporter
        )
        self._verifier = RotationVerifier(
            self.metrics,
            lambda rotation: dispatcher.publish_rotation(rotation, self._generations.value),
            self._rejected_by_clients,
            timing.probe_deadline,
            monitoring.rollback_within,
            DataPlaneRejection(elb, self._certificate_id),
        )
        self._prober = PeriodicProber(
            self._verifier,
            self.alert_evaluator.update_from_own_certificates,
            monitoring.probe_interval,
            monitoring.own_endpoints,
        )
        self._rollback = Rollback(context, self._rolled_back, self._generations)
        # a controller that only observes leaves every Secret to the reconcile
        writable: Generations = self._generations if mode.apply else Latest(None)
        self._secret_fast_path = SecretFastPath(context, self, options.checks, writable)
        self._endpoints_fast_path = EndpointsFastPath(
            context, self._cache.view, self._generations, options.backends, self._debouncer.trigger
        )
        self._translations = IsolatedTranslation(
            options, lambda cluster: dry_run(cluster, monitoring.rules, mode.drift), self.metrics
        )
        self._inputs = InputReader(elb, self._cache, self._observed, self._translations, self._elb_connection)
        self._hosts = HostReporter(dispatcher, self._verifier, self._generations, monitoring.rules.limits, self.metrics)
        dependencies = ReconcilerDependencies(
            context, self._inputs, dispatcher, self._hosts, self._verifier, self._rollback, self._generations
        )
        self._reconciler = Reconciler(dependencies, options, mode, timedelta(seconds=timing.deletion_delay))
        self.in_step = self._reconciler.in_step

    @property
    def view(self) -> Latest[ClusterView | None]:
        """The newest view of the cluster; None before the first list."""
        return self._cache.view

    @property
    def reconciled(self) -> int:
        """Reconciles that ended with nothing left to do."""
        return self._reconciler.count

    @property
    def not_ready(self) -> str | None:
        """The reason why it is not ready; None once the ELB was in step, or while another replica leads."""
        if self.reconciled:
            return None
        if self._cache.view.value is None:
            return f"the cluster is not read yet: {self._kube_connection.error or 'listing'}"
        if not self._leads and self._mode.leader and self._mode.leader.holder.value:
            return None
        return f"the load balancer is not in step yet: {self._elb_connection.error or 'working on it'}"

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._mode.leader:
                    tasks.create_task(self._mode.leader.run())
                tasks.create_task(self._follow_leadership())
                tasks.create_task(self._restarted("cache", self._cache.run))
                tasks.create_task(self._restarted("ELB events", lambda: follow_events(self._elb, self._elb_changed)))
                tasks.create_task(self._restarted("views", self._follow_views))
                tasks.create_task(self._restarted("connection", self._follow_connection))
                tasks.create_task(self._restarted("reconcile", self._reconcile_loop))
                tasks.create_task(self._restarted("hosts", self._hosts.run))
                tasks.create_task(self._restarted("probes", self._probe_periodically))
                if self._mode.apply:
                    tasks.create_task(self._restarted("reports", self._status_writer.run))
                    tasks.create_task(self._restarted("endpoints", self._endpoints_fast_path.run))
        finally:
            await self._secret_fast_path.stop()
            await self._rollback.stop()
            await self._verifier.stop()

    def invalidate(self) -> None:
        """Reconcile soon, from a fresh observation of the ELB."""
        self._inputs.invalidate()
        self._debouncer.trigger()

    async def _restarted(self, part: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a part; start it again after an unexpected error. Objects that caused it are skipped from then on."""
        backoff = Backoff(*RESTART)
        while True:
            began = time.monotonic()
            try:
                return await run()
            except Exception:  # noqa: BLE001 (one seam for all parts: none ends the controller)
                _log.exception("part restarts after an unexpected error", part=part)
            if time.monotonic() - began > 2 * RESTART[1]:
                backoff.reset()
            self.metrics.part_restarts.labels(part).inc()
            self._translations.suspect()
            self.invalidate()
            await backoff.wait()

    @property
    def _leads(self) -> bool:
        return self._mode.leader is None or self._mode.leader.leading

    async def _follow_leadership(self) -> None:
        """Start from scratch after each change of the leader, because another replica may have written."""
        if self._mode.leader is None:
            self.metrics.leader.set(self._mode.apply is not None)
            return
        async for elected in self._mode.leader.elected.changes():
            self.metrics.leader.set(elected)
            self._generations.set(None)
            self._observed.set_baseline(NOTHING)
            self.invalidate()

    def _elb_changed(self, record: Record | None) -> None:
        """Handle a change on the ELB; None if some may have been missed. Our own writes come back too."""
        state = self._observed.state
        written = record and record.kind == "certificate" and record.verb in ("create", "update")
        if record and state and written and record.fingerprint:  # the end of a break-glass changes no content
            present = state.certificates.get(record.resource_id)
            if present and present.chain and present.chain.fingerprint == record.fingerprint:
                return
        if record and record.user == self._elb.user:
            return
        if record:
            self._drift_reporter.record_change(record)
        self._reconciler.note_change()
        self.invalidate()

    # results of the fast path: see FastPathListener

    def accepted(self, key: str, chain: Chain, changed: float, accepted: float) -> None:
        """Verify what clients see; reconcile later, because one PUT did all that was due."""
        _log.info("certificate renewed", certificate=key, fingerprint=chain.fingerprint[:16])
        self._verifier.verify_rotation(key, chain, changed, accepted)
        self._debouncer.trigger_later()

    def warned(self, secret: ObjectRef, finding: Finding) -> None:
        """Record an Event about a finding on a certificate that was accepted."""
        self._status_writer.record([finding_event(secret, finding)])

    def declined(self) -> None:
        """Reconcile soon."""
        self._reconciler.note_change()
        self._debouncer.trigger()

    def failed(self, error: ElbError) -> None:
        """Reconcile soon, from a fresh observation."""
        _log.warning("certificate not renewed", error=str(error))
        self._delay_after(error)
        self.invalidate()

    def _secret_changed(self, update: SecretUpdate) -> None:
        self._secret_fast_path.enqueue(update)

    async def _follow_views(self) -> None:
        before: ClusterView | None = None
        async for view in self._cache.view.changes():
            if view is not None:
                self._kube_connection.set(self._cache.trouble.value)
                writes = self._mode.apply is not None
                if writes and before is not None and before != view and only_endpoints(before, view):
                    self._endpoints_fast_path.enqueue(before, view)
                elif before is None or self._needs_reconcile(before, view):
                    self._reconciler.note_change()
                    self._debouncer.trigger()
                before = view

    def _needs_reconcile(self, before: ClusterView, view: ClusterView) -> bool:
        """Return whether more changed than contents of Secrets that the fast path handles."""
        if msgspec.structs.replace(before, secrets=view.secrets) != view:
            return True
        if before.secrets.keys() - view.secrets.keys():
            return True
        for name in changed_keys(before.secrets, view.secrets):
            old, new = before.secrets.get(name), view.secrets[name]
            if old is None or new.chain is None or old.meta != new.meta:
                return True
            if not self._secret_fast_path.took(new.meta.uid):
                return True
        return False

    async def _follow_connection(self) -> None:
        async for error in self._cache.trouble.changes():
            if error is not None or self._cache.view.value is not None:
                self._kube_connection.set(error)

    async def _probe_periodically(self) -> None:
        await self.in_step.wait()
        await self._prober.run()

    def _connection_errors(self) -> Mapping[str, tuple[str, float]]:
        connections = (("kubernetes", self._kube_connection), ("elb", self._elb_connection))
        return {name: (c.error, c.since) for name, c in connections if c.error}

    async def _reconcile_loop(self) -> None:
        pause: float | None = None
        while True:
            await self._debouncer.wait(self._until_next_change() if pause is None else pause)
            # a change in the cluster does not shorten the delay that the ELB asked for
            await asyncio.sleep(self._backoff.remaining)
            if self._cache.view.value is None or not self._leads:
                pause = None
                continue
            deletion_due = self._reconciler.deletion_due
            if (deletion_due and datetime.now(UTC) >= deletion_due) or self._inputs.age >= self._timing.resync:
                self._inputs.invalidate()
            try:
                async with self._endpoints_fast_path.lock:
                    settled = await self._reconciler.run()
                self._debouncer.rest_after(self._reconciler.duration)
            except ElbError as error:
                self._inputs.invalidate()
                pause = self._delay_after(error)
                continue
            except KubeError as error:
                _log.debug("the cluster did not answer", error=str(error))
                settled = False
            if settled:
                self._backoff.reset()
            pause = None if settled else self._backoff.refused()

    def _delay_after(self, error: ElbError) -> float:
        """Return the seconds until the next attempt."""
        if error.code == "NotLeading":
            return 0.0
        self.metrics.elb_errors.labels(error.code or str(error.status)).inc()
        self._elb_connection.set(str(error))
        return self._backoff.failed(error)

    def _until_next_change(self) -> float:
        """Return the seconds until the next resync, deletion, or change of validity."""
        if not self._leads:
            return self._timing.resync
        instants = (self._reconciler.next_validity_change, self._reconciler.deletion_due)
        delays = [(instant - datetime.now(UTC)).total_seconds() for instant in instants if instant]
        retry = self._inputs.rejected.delay
        return max(0.0, min([self._timing.resync, *delays, *([] if retry is None else [retry])]))

    def _certificate_id(self, key: str) -> str | None:
        view = self._cache.view.value
        have = self._observed.following(view.cluster_id, key.removeprefix("@certificate/")) if view else None
        return have.id if have else None

    def _rejected_by_clients(self, rotation: RotationResult, why: str) -> None:
        if self._mode.apply and self._leads:
            self._rollback.start(rotation, why)

    def _rolled_back(self, certificate: Certificate, result: str, sentence: str) -> None:
        generation = self._generations.value
        translation = generation.translation if generation else None
        self._status_writer.record(rollback_events(certificate, result, sentence, translation))
        self._debouncer.trigger()
