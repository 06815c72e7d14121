"""The controller's rhythm: when to look and act, and again.

``serve`` runs it. Everything clever is in ``core``, one round in ``reconcile``; this decides only when: shortly
after a change, at each resync, and again with back-off after a failure. Each round starts from scratch, so that
nothing depends on what was seen or missed before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import structlog

from certferry.controller.mode import ControllerMode
from certferry.controller.reconciler import Reconciler, ReconcilerDependencies
from certferry.controller.report.alert_state import AlertEvaluator
from certferry.controller.report.dispatch import ReportDispatcher
from certferry.controller.report.drift import DriftReporter
from certferry.controller.report.messages import finding_event, rollback_events
from certferry.controller.report.status_writer import StatusWriter
from certferry.controller.sync.apply import ApplyContext
from certferry.controller.sync.backoff import ElbBackoff
from certferry.controller.sync.connection_state import ConnectionState
from certferry.controller.sync.debounce import Debouncer, Timing
from certferry.controller.sync.endpoints_fast_path import EndpointsFastPath, only_endpoints
from certferry.controller.sync.inputs import InputReader
from certferry.controller.sync.observed_state import ObservedState
from certferry.controller.sync.secret_fast_path import SecretFastPath
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
from certferry.runtime.metrics import Metrics

SINGLE_REPLICA: Final = ControllerMode()

_log = structlog.get_logger()


class Controller:
    """One cluster and one ELB."""

    def __init__(
        self,
        kube: KubeClient,
        elb: ElbClient,
        options: TranslateOptions,
        waits: Timing,
        conduct: ControllerMode = SINGLE_REPLICA,
    ) -> None:
        self.metrics = Metrics()
        self._conduct = conduct
        self._elb = elb
        self._world = ObservedState()
        self._waits = waits
        self._pace = Debouncer(waits)
        self._patience = ElbBackoff()
        self._kubernetes = ConnectionState("kubernetes", self.metrics)
        self._balancer = ConnectionState("elb", self.metrics)
        self._cache = Cache(kube, self._arrived, conduct.scope)
        hands = ApplyContext(
            elb=elb, kube=kube, world=self._world, metrics=self.metrics, secret=self._cache.secret
        )
        vigil = conduct.vigil
        self.watch = AlertEvaluator(self.metrics, options, vigil.rules, self._troubles)
        self._drifting = DriftReporter(elb)
        self._reporter = StatusWriter(kube, self._cache)
        telling = ReportDispatcher(
            self.metrics, self._cache, options, self._reporter, self.watch, self._drifting
        )
        self._proof = RotationVerifier(
            self.metrics,
            telling.publish_rotation,
            self._refused_by_clients,
            waits.probe_deadline,
            vigil.rollback_within,
        )
        self._patrol = PeriodicProber(
            self._proof, self.watch.update_from_probes, vigil.probe_interval, vigil.own_endpoints
        )
        self._parking = Rollback(hands, self._taken_back)
        self._fast = SecretFastPath(hands, self, options.checks)
        self._endpoints = EndpointsFastPath(hands, self._cache.view, options.backends, self._pace.trigger)
        self._gathering = InputReader(elb, self._cache, self._world, options, self._balancer)
        parts = ReconcilerDependencies(
            hands, self._gathering, telling, self._proof, self._parking, self._fast, self._endpoints
        )
        self._reconcile = Reconciler(parts, options, conduct, timedelta(seconds=waits.deletion_delay))
        self.in_step = self._reconcile.in_step

    @property
    def reconciled(self) -> int:
        """Rounds that found nothing left to do."""
        return self._reconcile.count

    @property
    def not_ready(self) -> str | None:
        """Why it is not ready yet; None once everything was brought in step once, or another one leads."""
        if self.reconciled:
            return None
        if self._cache.view.value is None:
            return f"the cluster is not read yet: {self._kubernetes.trouble or 'listing'}"
        if not self._leads and self._conduct.leader and self._conduct.leader.holder.value:
            return None
        return f"the load balancer is not in step yet: {self._balancer.trouble or 'working on it'}"

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._cache.run())
                if self._conduct.act:
                    tasks.create_task(self._reporter.run())
                if self._conduct.leader:
                    tasks.create_task(self._conduct.leader.run())
                tasks.create_task(self._watch_leader())
                tasks.create_task(follow_events(self._elb, self._heard))
                tasks.create_task(self._follow())
                tasks.create_task(self._watch_connection())
                if self._conduct.act:
                    tasks.create_task(self._endpoints.run())
                tasks.create_task(self._rhythm())
                tasks.create_task(self._watch_over())
        finally:
            await self._fast.stop()
            await self._parking.stop()
            await self._proof.stop()

    @property
    def _leads(self) -> bool:
        return self._conduct.leader is None or self._conduct.leader.leading

    async def _watch_leader(self) -> None:
        """Whoever begins to lead trusts nothing that was seen before; whoever ceases takes no Secret on."""
        if self._conduct.leader is None:
            self.metrics.leading.set(self._conduct.act is not None)
            return
        async for elected in self._conduct.leader.elected.changes():
            self.metrics.leading.set(elected)
            self._gathering.stale = True
            self._fast.translation = self._endpoints.translation = None
            self._world.set_baseline(NOTHING)
            self._pace.trigger()

    def _heard(self, record: Record | None) -> None:
        """The ELB tells of a change. What we wrote ourselves comes back too, and is known already."""
        state = self._world.state
        written = record and record.kind == "certificate" and record.verb in ("create", "update")
        if record and state and written and record.fingerprint:  # an end of break-glass changes no content
            present = state.certificates.get(record.resource_id)
            if present and present.chain and present.chain.fingerprint == record.fingerprint:
                return
        if record and record.user == self._elb.user:
            return
        if record:
            self._drifting.record_change(record)
        self._reconcile.changed = time.time()
        self._gathering.stale = True
        self._pace.trigger()

    # what the fast path tells: see fast.Ends

    def accepted(self, key: str, chain: Chain, changed: float, accepted: float) -> None:
        """One PUT did it; the whole is looked at when it is quiet."""
        _log.info("certificate renewed", certificate=key, fingerprint=chain.fingerprint[:16])
        self._proof.verify_rotation(key, chain, changed, accepted)
        self._pace.trigger_later()

    def warned(self, secret: ObjectRef, finding: Finding) -> None:
        """It is served all the same."""
        self._reporter.record([finding_event(secret, finding)])

    def declined(self) -> None:
        """The reconcile decides."""
        self._pace.trigger()

    def failed(self, error: ElbError) -> None:
        """Read what is there, then decide anew."""
        _log.warning("certificate not renewed", error=str(error))
        self._failed(error)
        self._gathering.stale = True
        self._pace.trigger()

    def _arrived(self, arrival: SecretUpdate) -> None:
        self._fast.enqueue(arrival)

    async def _follow(self) -> None:
        before: ClusterView | None = None
        async for view in self._cache.view.changes():
            if view is not None:
                self._kubernetes.set(self._cache.trouble.value)
                acting = self._conduct.act is not None
                if acting and before is not None and before != view and only_endpoints(before, view):
                    self._endpoints.offer(before, view)
                elif before is None or self._matters(before, view):
                    self._reconcile.changed = time.time()
                    self._pace.trigger()
                before = view

    def _matters(self, before: ClusterView, view: ClusterView) -> bool:
        """Whether more changed than contents of Secrets, which the fast path answers for."""
        if msgspec.structs.replace(before, secrets=view.secrets) != view:
            return True
        if before.secrets.keys() - view.secrets.keys():
            return True
        for name in changed_keys(before.secrets, view.secrets):
            old, new = before.secrets.get(name), view.secrets[name]
            if old is None or new.chain is None or old.meta != new.meta:
                return True
            if not self._fast.handles(new.meta.uid):
                return True
        return False

    async def _watch_connection(self) -> None:
        async for trouble in self._cache.trouble.changes():
            if trouble is not None or self._cache.view.value is not None:
                self._kubernetes.set(trouble)

    async def _watch_over(self) -> None:
        await self.in_step.wait()
        await self._patrol.run()

    def _troubles(self) -> Mapping[str, tuple[str, float]]:
        both = (("kubernetes", self._kubernetes), ("elb", self._balancer))
        return {name: (it.trouble, it.since) for name, it in both if it.trouble}

    async def _rhythm(self) -> None:
        pause: float | None = None
        while True:
            await self._pace.wait(self._until_edge() if pause is None else pause)
            # a change in the cluster does not shorten what the ELB asked for
            await asyncio.sleep(self._patience.remaining)
            if self._cache.view.value is None or not self._leads:
                pause = self._reconcile.next_validity_change = None
                continue
            # others may have changed the ELB
            due = self._reconcile.due
            if (due and datetime.now(UTC) >= due) or self._gathering.age >= self._waits.resync:
                self._gathering.stale = True
            try:
                async with self._endpoints.turn:
                    settled = await self._reconcile.run()
            except ElbError as error:
                self._gathering.stale, pause = True, self._failed(error)
                continue
            except KubeError as error:
                _log.debug("the cluster did not answer", error=str(error))
                settled = False
            if settled:
                self._patience.reset()
            pause = None if settled else self._patience.refused()

    def _failed(self, error: ElbError) -> float:
        """Seconds until the next attempt."""
        if error.code == "NotLeading":
            return 0.0
        self.metrics.elb_errors.labels(error.code or str(error.status)).inc()
        self._balancer.set(str(error))
        return self._patience.failed(error)

    def _until_edge(self) -> float:
        """Seconds until the next resync, or until a certificate begins or ceases to be valid."""
        edges = [
            instant for instant in (self._reconcile.next_validity_change, self._reconcile.due) if instant
        ]
        left = [(instant - datetime.now(UTC)).total_seconds() for instant in edges]
        return max(0.0, min([self._waits.resync, *left]))

    def _refused_by_clients(self, rotation: RotationResult, why: str) -> None:
        if self._conduct.act and self._leads:
            self._parking.start(rotation, why)

    def _taken_back(self, certificate: Certificate, end: str, sentence: str) -> None:
        self._reporter.record(rollback_events(certificate, end, sentence, self._fast.translation))
        self._pace.trigger()
