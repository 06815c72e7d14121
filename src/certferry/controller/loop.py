"""The controller's rhythm: gather, decide, act, and again.

``serve`` runs it. Everything clever is in ``core``; this decides only when: shortly after a change,
at each resync, and again with back-off after a failure. Each reconcile starts from scratch, so that
nothing depends on what was seen or missed before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog

from certferry.controller.apply import Failure, Hands, Outcome, apply
from certferry.controller.fast import FastPath
from certferry.controller.guard import Guard
from certferry.controller.notices import annotation, blamed, entry, taken_back, told, warnings
from certferry.controller.pace import Pace, Waits
from certferry.controller.parking import Parking
from certferry.controller.patrol import Patrol
from certferry.controller.proof import Proof, Rotation, seats
from certferry.controller.report import Notice, Reporter
from certferry.controller.watchman import Watchman
from certferry.controller.world import World
from certferry.core.claims import Options
from certferry.core.model import Certificate, State
from certferry.core.objects import ClusterView, Name
from certferry.core.pem import Chain
from certferry.core.plan import Step, match, plan
from certferry.core.problems import Problem
from certferry.core.translate import Translation, translate
from certferry.elb.client import ElbClient, ElbError
from certferry.kube.cache import Arrival, Cache
from certferry.kube.client import KubeClient, KubeError
from certferry.metrics import Metrics

ROUNDS: Final = 5
"""Plans in a row; one that still finds work then waits like one that failed."""
PAUSES: Final = (0.1, 0.5)
"""Seconds until the next attempt while nobody listens at the ELB's address: the first, the longest."""
FAILED_PAUSES: Final = (0.1, 5.0)
"""The same after a time-out or a 5xx: asking again costs the ELB something."""
REFUSED_PAUSES: Final = (1.0, 60.0)
"""The same after a refusal, which only a change heals."""

NO_GUARD: Final = Guard()
_NOT_FOUND: Final = ("CertificateNotFound", "LoadBalancerNotFound")

_log = structlog.get_logger()


class Connection:
    """One line in the log when a remote is lost, and one when it is back."""

    def __init__(self, remote: str, metrics: Metrics) -> None:
        self._remote = remote
        self._gauge = metrics.connected.labels(remote)
        self._trouble: str | None = ""
        self.since = time.monotonic()
        """When it was lost, or came back."""
        self._gauge.set(0)

    @property
    def trouble(self) -> str | None:
        """Why it is lost; None while it answers."""
        return self._trouble

    def set(self, trouble: str | None) -> None:
        """How the last attempt ended."""
        if (trouble is None) == (self._trouble is None) and self._trouble != "":
            return
        self._trouble, self.since = trouble, time.monotonic()
        self._gauge.set(trouble is None)
        if trouble is None:
            _log.info("connected", remote=self._remote)
        else:
            _log.warning("not connected, trying on; nothing served changes", remote=self._remote, why=trouble)


class Controller:
    """One cluster and one ELB."""

    def __init__(
        self,
        kube: KubeClient,
        elb: ElbClient,
        options: Options,
        waits: Waits,
        probe_deadline: float,
        guard: Guard = NO_GUARD,
    ) -> None:
        self.metrics = Metrics()
        self._options = options
        self._elb = elb
        self._world = World()
        self._waits = waits
        self._pace = Pace(waits)
        self._cache = Cache(kube, self._arrived)
        self._hands = Hands(
            elb=elb, kube=kube, world=self._world, metrics=self.metrics, secret=self._cache.secret
        )
        self._fast = FastPath(self._hands, self, options.checks)
        self._parking = Parking(self._hands, self._taken_back)
        self._proof = Proof(
            self.metrics, self._rotated, self._parking.refuse, probe_deadline, guard.rollback_within
        )
        self.watch = Watchman(self.metrics, options, guard.rules, self._troubles)
        self._patrol = Patrol(self._proof, self.watch.patrolled, guard.patrol, guard.own)
        self._reporter = Reporter(kube, self._cache)
        self._kubernetes = Connection("kubernetes", self.metrics)
        self._balancer = Connection("elb", self.metrics)
        self._missing: frozenset[Problem] = frozenset()
        self._stale = True
        self._observed_at = 0.0
        self._changed = time.time()
        self._settled_at = 0.0
        self.in_step = asyncio.Event()
        self.reconciled = 0
        """Reconciles that found nothing left to do."""

    @property
    def not_ready(self) -> str | None:
        """Why it is not ready yet; None once everything was brought in step once."""
        if self.reconciled:
            return None
        if self._cache.view.value is None:
            return f"the cluster is not read yet: {self._kubernetes.trouble or 'listing'}"
        return f"the load balancer is not in step yet: {self._balancer.trouble or 'working on it'}"

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._cache.run())
                tasks.create_task(self._reporter.run())
                tasks.create_task(self._follow())
                tasks.create_task(self._watch_connection())
                tasks.create_task(self._rhythm())
                tasks.create_task(self._watch_over())
        finally:
            await self._fast.stop()
            await self._parking.stop()
            await self._proof.stop()

    # what the fast path tells: see fast.Ends

    def accepted(self, key: str, chain: Chain, changed: float, accepted: float) -> None:
        """One PUT did it; the whole is looked at when it is quiet."""
        _log.info("certificate renewed", certificate=key, fingerprint=chain.fingerprint[:16])
        self._proof.renewed(key, chain.fingerprint, changed, accepted)
        self._pace.poke_later()

    def declined(self) -> None:
        """The reconcile decides."""
        self._pace.poke()

    def failed(self, error: ElbError) -> None:
        """Read what is there, then decide anew."""
        _log.warning("certificate not renewed", error=str(error))
        self._stale = True
        self._pace.poke()

    def _arrived(self, arrival: Arrival) -> None:
        self._fast.offer(arrival)

    async def _follow(self) -> None:
        before: ClusterView | None = None
        async for view in self._cache.view.values():
            if view is not None:
                self._kubernetes.set(self._cache.trouble.value)
                if before is None or self._matters(before, view):
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
        failing = 0
        while True:
            await self._pace.turn(pause)
            if self._cache.view.value is None:
                continue
            # others may have changed the ELB
            if time.monotonic() - self._observed_at >= self._waits.resync:
                self._stale = True
            try:
                settled = await self._reconcile()
            except ElbError as error:
                self._balancer.set(str(error))
                self._stale, failing = True, failing + 1
                pause = _pause(PAUSES if error.code == "Unreachable" else FAILED_PAUSES, failing)
                continue
            except KubeError as error:
                _log.debug("a Secret could not be read", error=str(error))
                settled = False
            failing = 0 if settled else failing + 1
            pause = None if settled else _pause(REFUSED_PAUSES, failing)

    async def _reconcile(self) -> bool:
        """Bring the ELB in step; whether there is nothing left to do."""
        with self.metrics.reconcile.time():
            started, worked = time.time(), False
            for _ in range(ROUNDS):
                view, state, translation = await self._gather()
                ids, steps = await asyncio.to_thread(_planned, translation, state, view.cluster_id)
                if not steps:
                    self._settled(translation, state, worked, min(started, self._changed))
                    return True
                _explain(steps)
                if self.reconciled and self._changed < self._settled_at:
                    # nothing changed in the cluster since all was in step: somebody else was here
                    self.watch.drifted(steps)
                worked = True
                outcome = await apply(steps, ids, translation.material, self._hands)
                self._stale = self._stale or outcome.structural or bool(outcome.failures)
                if outcome.failures:
                    self._refused(outcome, translation, state)
                    return False
            return False

    async def _gather(self) -> tuple[ClusterView, State, Translation]:
        if self._stale or self._world.state is None:
            await self._observe()
        view, state, translation = await self._translate()
        missing = frozenset(p for p in translation.problems if p.reason in _NOT_FOUND)
        if missing - self._missing:
            # what an Ingress names may have been made on the ELB since we last looked
            await self._observe()
            view, state, translation = await self._translate()
        self._missing = missing
        self._fast.cluster_id = self._parking.cluster_id = view.cluster_id
        self._fast.translation = translation
        return view, state, translation

    async def _observe(self) -> None:
        begun = self._world.begin()
        self._world.observed(await self._elb.observe(), begun)
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

    def _settled(self, translation: Translation, state: State, worked: bool, changed: float) -> None:
        expected = seats(translation, state)
        if self.reconciled or worked:
            self._proof.expect(expected, changed, time.time())
        else:
            self._proof.believe(expected)
        self.reconciled += 1
        self._settled_at = time.time()
        self.in_step.set()
        self._tell(translation, state, ())
        self._parking.unfinished(state, self._fast.cluster_id)

    def _refused(self, outcome: Outcome, translation: Translation, state: State) -> None:
        for failure in outcome.failures:
            _log.warning("step refused", step=_title(failure.step), why=failure.sentence)
        notices = [n for f in outcome.failures for n in blamed(f, translation)]
        self._tell(translation, state, notices, outcome.failures)

    def _tell(
        self,
        translation: Translation,
        state: State,
        more: Iterable[Notice],
        failures: Sequence[Failure] = (),
    ) -> None:
        view = self._cache.view.value
        assert view is not None
        self.watch.looked(view, state, translation, failures)
        self._reporter.standing(
            [*warnings(translation), *more, *self.watch.notices()],
            {name: entry(status, translation, state) for name, status in translation.status.items()},
        )
        self._count(translation, state)

    def _count(self, translation: Translation, state: State) -> None:
        self.metrics.problems.clear()
        for problem in translation.problems:
            self.metrics.problems.labels(problem.reason).inc()
        self.metrics.expiry.clear()
        for certificate in state.certificates.values():
            if certificate.chain and certificate.source:
                source = certificate.source
                self.metrics.expiry.labels(source.namespace, source.secret, certificate.id).set(
                    certificate.chain.not_after.timestamp()
                )

    def _rotated(self, rotation: Rotation) -> None:
        if rotation.trouble:
            _log.warning(
                "certificate not served", fingerprint=rotation.fingerprint[:16], why=rotation.trouble
            )
        self.watch.rotated(rotation)
        ingresses = sorted({seat.ingress for seat in rotation.seats})
        self._reporter.rotated(
            told(rotation), [Name(i.namespace, i.name) for i in ingresses], annotation(rotation)
        )

    def _taken_back(self, certificate: Certificate, end: str, sentence: str) -> None:
        self._reporter.told(taken_back(certificate, end, sentence, self._fast.translation))
        self._pace.poke()


def _planned(
    translation: Translation, state: State, cluster_id: str
) -> tuple[Mapping[str, str], tuple[Step, ...]]:
    desired = translation.desired
    return match(desired, state, cluster_id), plan(desired, state, cluster_id, translation.held)


def _explain(steps: tuple[Step, ...]) -> None:
    for step in steps:
        _log.info("step", step=_title(step), why=step.why)


def _title(step: Step) -> str:
    return f"{step.verb} {step.kind} {step.name or step.key}"


def _pause(limits: tuple[float, float], failing: int) -> float:
    return min(limits[0] * 2.0 ** min(failing - 1, 10), limits[1])
