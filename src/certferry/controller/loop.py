"""The controller's rhythm: gather, decide, act, and again.

``serve`` runs it. Everything clever is in ``core``; this decides only when: shortly after a change,
at each resync, and again with back-off after a failure. Each reconcile starts from scratch, so that
nothing depends on what was seen or missed before.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import structlog

from certferry.controller.adopting import adopt
from certferry.controller.apply import Failure, Hands, Outcome
from certferry.controller.conduct import Conduct
from certferry.controller.connection import Connection
from certferry.controller.drifting import Drifting
from certferry.controller.edges import next_edge
from certferry.controller.endpoints import EndpointPath, only_endpoints
from certferry.controller.fast import FastPath
from certferry.controller.guard import guarded
from certferry.controller.listening import follow
from certferry.controller.notices import (
    annotation,
    blamed,
    entry,
    handed_over,
    left,
    remark,
    taken_back,
    told,
    warnings,
)
from certferry.controller.pace import Pace, Waits
from certferry.controller.parking import Parking
from certferry.controller.patience import Patience
from certferry.controller.patrol import Patrol
from certferry.controller.proof import Proof, Rotation, seats
from certferry.controller.report import Notice, Reporter
from certferry.controller.watchman import Watchman
from certferry.controller.world import World
from certferry.core.adoption import proposals
from certferry.core.checks import Finding
from certferry.core.claims import Options
from certferry.core.claims import ours as claimed
from certferry.core.decide import Decision, decide
from certferry.core.drift import Drift
from certferry.core.garbage import sweep
from certferry.core.model import Certificate, State
from certferry.core.objects import ClusterView, Name, ObjectRef
from certferry.core.pem import Chain
from certferry.core.plan import Step
from certferry.core.problems import Problem
from certferry.core.translate import Translation, translate
from certferry.core.unmarked import NOTHING, Known
from certferry.elb import extensions
from certferry.elb.client import ElbClient, ElbError
from certferry.elb.extensions import Record
from certferry.elb.observation import observe
from certferry.kube.cache import Arrival, Cache
from certferry.kube.client import KubeClient, KubeError
from certferry.metrics import Metrics

ROUNDS: Final = 5
"""Plans in a row; one that still finds work then waits like one that failed."""

_NOT_FOUND: Final = ("CertificateNotFound", "LoadBalancerNotFound")

ALONE: Final = Conduct()

_log = structlog.get_logger()


class Controller:
    """One cluster and one ELB."""

    def __init__(
        self,
        kube: KubeClient,
        elb: ElbClient,
        options: Options,
        waits: Waits,
        conduct: Conduct = ALONE,
    ) -> None:
        self.metrics = Metrics()
        self._options = options
        self._conduct = conduct
        self._elb = elb
        self._world = World()
        self._waits = waits
        self._pace = Pace(waits)
        self._patience = Patience()
        self._cache = Cache(kube, self._arrived, conduct.scope)
        self._hands = Hands(
            elb=elb, kube=kube, world=self._world, metrics=self.metrics, secret=self._cache.secret
        )
        self._fast = FastPath(self._hands, self, options.checks)
        vigil = conduct.vigil
        self._parking = Parking(self._hands, self._taken_back)
        self._proof = Proof(
            self.metrics, self._rotated, self._refused_by_clients, waits.probe_deadline, vigil.rollback_within
        )
        self.watch = Watchman(self.metrics, options, vigil.rules, self._troubles)
        self._patrol = Patrol(self._proof, self.watch.patrolled, vigil.patrol, vigil.own)
        self._endpoints = EndpointPath(self._hands, options.backends, self._pace.poke)
        self._drifting = Drifting(elb)
        self._marks: Mapping[str, datetime] = {}
        """Since when what could be deleted has been unused."""
        self._due: datetime | None = None
        self._nodes_asked = False
        self._reporter = Reporter(kube, self._cache)
        self._kubernetes = Connection("kubernetes", self.metrics)
        self._balancer = Connection("elb", self.metrics)
        self._missing: frozenset[Problem] = frozenset()
        self._edge: datetime | None = None
        self._drifts: list[Notice] = []
        self._locks: bool | None = None
        """Whether the ELB has our lock; None: not asked yet."""
        self._stale = True
        self._observed_at = 0.0
        self._changed = time.time()
        self.in_step = asyncio.Event()
        self.reconciled = 0
        """Reconciles that found nothing left to do."""

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
                tasks.create_task(follow(self._elb, self._heard))
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
        async for elected in self._conduct.leader.elected.values():
            self.metrics.leading.set(elected)
            self._stale = True
            self._fast.translation = self._endpoints.translation = None
            self._world.known = NOTHING
            self._pace.poke()

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
            self._drifting.heard(record)
        self._changed = time.time()
        self._stale = True
        self._pace.poke()

    # what the fast path tells: see fast.Ends

    def accepted(self, key: str, chain: Chain, changed: float, accepted: float) -> None:
        """One PUT did it; the whole is looked at when it is quiet."""
        _log.info("certificate renewed", certificate=key, fingerprint=chain.fingerprint[:16])
        self._proof.renewed(key, chain, changed, accepted)
        self._pace.poke_later()

    def remarked(self, secret: ObjectRef, finding: Finding) -> None:
        """It is served all the same."""
        self._reporter.tell([remark(secret, finding)])

    def declined(self) -> None:
        """The reconcile decides."""
        self._pace.poke()

    def failed(self, error: ElbError) -> None:
        """Read what is there, then decide anew."""
        _log.warning("certificate not renewed", error=str(error))
        self._failed(error)
        self._stale = True
        self._pace.poke()

    def _arrived(self, arrival: Arrival) -> None:
        self._fast.offer(arrival)

    async def _follow(self) -> None:
        before: ClusterView | None = None
        async for view in self._cache.view.values():
            if view is not None:
                self._kubernetes.set(self._cache.trouble.value)
                acting = self._conduct.act is not None
                if acting and before is not None and before != view and only_endpoints(before, view):
                    self._endpoints.offer(before, view)
                elif before is None or self._matters(before, view):
                    self._changed = time.time()
                    self._pace.poke()
                before = view

    def _matters(self, before: ClusterView, view: ClusterView) -> bool:
        """Whether more changed than contents of Secrets, which the fast path answers for."""
        if msgspec.structs.replace(before, secrets=view.secrets) != view:
            return True
        for name in before.secrets.keys() | view.secrets.keys():
            old, new = before.secrets.get(name), view.secrets.get(name)
            if old is new:
                continue
            if old is None or new is None or new.chain is None or old.meta != new.meta:
                return True
            if not self._fast.takes(new.meta.uid):
                return True
        return False

    async def _watch_connection(self) -> None:
        async for trouble in self._cache.trouble.values():
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
            await self._pace.turn(self._until_edge() if pause is None else pause)
            # a change in the cluster does not shorten what the ELB asked for
            await asyncio.sleep(self._patience.left)
            if self._cache.view.value is None or not self._leads:
                pause = self._edge = None
                continue
            # others may have changed the ELB
            late = self._due is not None and datetime.now(UTC) >= self._due
            if late or time.monotonic() - self._observed_at >= self._waits.resync:
                self._stale = True
            try:
                async with self._endpoints.turn:
                    settled = await self._reconcile()
            except ElbError as error:
                self._stale, pause = True, self._failed(error)
                continue
            except KubeError as error:
                _log.debug("a Secret could not be read", error=str(error))
                settled = False
            if settled:
                self._patience.settled()
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
        edges = [instant for instant in (self._edge, self._due) if instant]
        left = [(instant - datetime.now(UTC)).total_seconds() for instant in edges]
        return max(0.0, min([self._waits.resync, *left]))

    async def _reconcile(self) -> bool:
        """Bring the ELB in step; whether there is nothing left to do."""
        with self.metrics.reconcile.time():
            started, worked = time.time(), False
            for _ in range(ROUNDS):
                view, state, translation = await self._gather()
                decision = await asyncio.to_thread(
                    decide, translation, state, view.cluster_id, self._conduct.drift, self._world.known
                )
                steps = self._swept(decision)
                if not self._locks:
                    steps = guarded(steps, state, view.cluster_id)
                self._count_steps(steps)
                self._edge = next_edge(translation, view, state, datetime.now(UTC))
                adopted = await self._adopted(decision, view, state, translation)
                self._drifts = await self._told_of_drift(decision, translation, adopted)
                if self._conduct.act or not decision.drifts:
                    self._world.known = Known(ids=decision.ids, state=state)
                if not steps or self._conduct.act is None:
                    self._endpoints.translation = translation if not steps else None
                    self._settled(view, translation, state, worked, min(started, self._changed))
                    return True
                self._endpoints.translation = None
                _explain(steps)
                worked = True
                outcome = await self._conduct.act(steps, decision.ids, translation.material, self._hands)
                self._stale = self._stale or outcome.structural or bool(outcome.failures)
                if outcome.failures:
                    self._refused(outcome, view, translation, state)
                    return False
            return False

    def _swept(self, decision: Decision) -> tuple[Step, ...]:
        """The steps but for what has not been unused for long enough."""
        swept = sweep(decision.steps, self._marks, datetime.now(UTC), timedelta(seconds=self._waits.garbage))
        self._marks, self._due = swept.marks, swept.due
        return swept.steps

    async def _adopted(
        self, decision: Decision, view: ClusterView, state: State, translation: Translation
    ) -> Mapping[Drift, str]:
        """What of the drift Ingresses say from now on."""
        wanted = [d for d in decision.drifts if d.mode == "adopt"]
        if not wanted or self._conduct.act is None:
            return {}
        now = datetime.now(UTC)
        found = await asyncio.to_thread(proposals, wanted, view, state, translation, self._options, now)
        return await adopt(self._hands.kube, found, view)

    async def _told_of_drift(
        self, decision: Decision, translation: Translation, adopted: Mapping[Drift, str]
    ) -> list[Notice]:
        """What stands of it; the rest is told now."""
        self.metrics.drift.clear()
        for found in decision.drifts:
            self.metrics.drift.labels(found.kind, found.mode).inc()
        news = await self._drifting.news(decision.drifts, translation, adopted)
        self.watch.drifted(n.sentence for n in (*news.once, *news.standing))
        if news.once:
            _log.warning("changed on the load balancer by others", what=[n.sentence for n in news.once])
            self._reporter.tell(news.once)
        return news.standing

    async def _gather(self) -> tuple[ClusterView, State, Translation]:
        if self._stale or self._world.state is None:
            await self._observe()
        view, state, translation = await self._translate()
        if translation.needs_nodes and view.nodes is None and not self._nodes_asked:
            self._nodes_asked = True
            if await self._cache.watch_nodes():
                view, state, translation = await self._translate()
        missing = frozenset(p for p in translation.problems if p.reason in _NOT_FOUND)
        if missing - self._missing:
            # what an Ingress names may have been made on the ELB since we last looked
            await self._observe()
            view, state, translation = await self._translate()
        self._missing = missing
        self._fast.cluster_id = self._parking.cluster_id = view.cluster_id
        self._fast.translation = translation if self._conduct.act else None
        return view, state, translation

    async def _observe(self) -> None:
        if self._locks is None:
            self._locks = bool(await extensions.available(self._elb))
        begun = self._world.begin()
        self._world.observed(await observe(self._elb), begun)
        self._stale, self._observed_at = False, time.monotonic()
        self._balancer.set(None)

    async def _translate(self) -> tuple[ClusterView, State, Translation]:
        view, state = self._cache.view.value, self._world.state
        assert view is not None
        assert state is not None
        # In a thread, on values that nobody changes: a rotation need not wait until a thousand Ingresses
        # are translated. What it writes meanwhile is seen by ``apply``, which then steps back.
        translation = await asyncio.to_thread(translate, view, state, self._options, datetime.now(UTC))
        return view, state, translation

    def _settled(
        self, view: ClusterView, translation: Translation, state: State, worked: bool, changed: float
    ) -> None:
        expected = seats(translation, state)
        if self.reconciled or worked:
            self._proof.expect(expected, changed, time.time())
        else:
            self._proof.believe(expected)
        self.reconciled += 1
        self.in_step.set()
        self._tell(view, translation, state, ())
        if self._conduct.act:
            self._parking.unfinished(state, view.cluster_id)

    def _refused(self, outcome: Outcome, view: ClusterView, translation: Translation, state: State) -> None:
        for failure in outcome.failures:
            _log.warning("step refused", step=_title(failure.step), why=failure.sentence)
        notices = [n for f in outcome.failures for n in blamed(f, translation)]
        self._tell(view, translation, state, notices, outcome.failures)

    def _tell(
        self,
        view: ClusterView,
        translation: Translation,
        state: State,
        more: Iterable[Notice],
        failures: Sequence[Failure] = (),
    ) -> None:
        self.watch.looked(view, state, translation, failures)
        ours = {i.meta.key for i in claimed(view, self._options)}
        others = {n: stands for n in view.ingresses.keys() - ours if (stands := self._cache.reported(n))}
        written = {n: it for n in translation.status if (it := self._cache.reported(n))}
        self._reporter.standing(
            [
                *warnings(translation),
                *handed_over(translation, written),
                *self._drifts,
                *more,
                *self.watch.notices(),
            ],
            {
                name: entry(status, translation, state, view.ingresses[name])
                for name, status in translation.status.items()
            },
            left(others, self._reporter.ingresses, state),
        )
        self._count(translation, state)

    def _count_steps(self, steps: Iterable[Step]) -> None:
        self.metrics.planned.clear()
        for (kind, verb), number in Counter((s.kind, s.verb) for s in steps).items():
            self.metrics.planned.labels(kind, verb).set(number)

    def _count(self, translation: Translation, state: State) -> None:
        self.metrics.problems.clear()
        for problem in translation.problems:
            self.metrics.problems.labels(problem.reason).inc()
        self.metrics.expiry.clear()
        for certificate in state.certificates.values():
            if certificate.chain:
                source = certificate.source
                whose = (source.namespace, source.secret) if source else ("", "")
                self.metrics.expiry.labels(*whose, certificate.id).set(
                    certificate.chain.not_after.timestamp()
                )

    def _rotated(self, rotation: Rotation) -> None:
        if rotation.trouble:
            _log.warning(
                "certificate not served", fingerprint=rotation.fingerprint[:16], why=rotation.trouble
            )
        self.watch.rotated(rotation)
        ingresses = sorted({seat.ingress for seat in rotation.seats})
        for it in ingresses:
            for instant in ("changed", "accepted", "served"):
                at = getattr(rotation, instant)
                self.metrics.instants.labels(it.namespace, it.name, instant).set(at or 0)
        self._reporter.rotated(
            told(rotation), [Name(i.namespace, i.name) for i in ingresses], annotation(rotation)
        )

    def _refused_by_clients(self, rotation: Rotation, why: str) -> None:
        if self._conduct.act and self._leads:
            self._parking.refuse(rotation, why)

    def _taken_back(self, certificate: Certificate, end: str, sentence: str) -> None:
        self._reporter.tell(taken_back(certificate, end, sentence, self._fast.translation))
        self._pace.poke()


def _explain(steps: tuple[Step, ...]) -> None:
    for step in steps:
        _log.info("step", step=_title(step), why=step.why)


def _title(step: Step) -> str:
    return f"{step.verb} {step.kind} {step.name or step.key}"
