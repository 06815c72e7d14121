"""One reconcile: gather, decide, act, until the ELB is in step. Each one starts from scratch.

It publishes a generation after each gather, and marks it as settled once nothing is left to do.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from msgspec.structs import replace

from certferry.controller.mode import ControllerMode
from certferry.controller.report.adopt_drift import adopt
from certferry.controller.report.dispatch import ReportDispatcher
from certferry.controller.report.host_reporter import HostReporter
from certferry.controller.sync.apply import ApplyContext
from certferry.controller.sync.console_protection import with_console_protection
from certferry.controller.sync.generation import Generation, Generations
from certferry.controller.sync.inputs import InputReader
from certferry.controller.sync.next_expiry import next_validity_change
from certferry.controller.verify.rollback import Rollback
from certferry.controller.verify.rotation import RotationVerifier, expected_certificates
from certferry.core.decide import Decision, decide
from certferry.core.drift.adopt import proposals
from certferry.core.drift.detect_unmarked import Baseline
from certferry.core.drift.drift import Drift
from certferry.core.plan.garbage_collection import select_deletions
from certferry.core.plan.plan import Step
from certferry.core.translate.listener_claims import TranslateOptions

ROUNDS: Final = 5
"""Plans in a row. If the last one still finds work, the next reconcile waits as after a failure."""


class ReconcilerDependencies(NamedTuple):
    """The parts that a reconcile works with."""

    context: ApplyContext
    inputs: InputReader
    dispatcher: ReportDispatcher
    hosts: HostReporter
    verifier: RotationVerifier
    rollback: Rollback
    generations: Generations


class Reconciler:
    """The reconciles of one controller; ``run`` is one of them."""

    def __init__(
        self,
        dependencies: ReconcilerDependencies,
        options: TranslateOptions,
        mode: ControllerMode,
        deletion_delay: timedelta,
    ) -> None:
        self._parts = dependencies
        self._options = options
        self._mode = mode
        self._deletion_delay = deletion_delay
        """How long an object has to be unused before it is deleted."""
        self._unused_since: Mapping[str, datetime] = {}
        self._changed_at = time.time()
        """Instant of the newest change that a reconcile has to deal with, in seconds since 1970; infinite if none."""
        self.deletion_due: datetime | None = None
        """Instant of the next deletion that waits for the delay."""
        self.next_validity_change: datetime | None = None
        """Instant at which a certificate becomes valid or expires next."""
        self.count = 0
        """Reconciles that ended with nothing left to do."""
        self.duration = 0.0
        """Seconds of the last gather and decision."""
        self.in_step = asyncio.Event()

    def note_change(self) -> None:
        """Remember the present instant as that of the newest change."""
        self._changed_at = time.time()

    async def run(self) -> bool:
        """Bring the ELB in step; return whether nothing is left to do. Raises ElbError and KubeError."""
        with self._parts.context.metrics.reconcile_duration.time():
            started, worked = time.time(), False
            for _ in range(ROUNDS):
                begun = time.monotonic()
                generation = await self._gather()
                decision, steps = await self._decide(generation)
                self.duration = time.monotonic() - begun
                if not steps or self._mode.apply is None:
                    self._finish(replace(generation, in_step=not steps), worked, min(started, self._changed_at))
                    if self._changed_at <= started:
                        self._changed_at = math.inf  # a later rotation is not this change's
                    return True
                worked = True
                if not await self._act(generation, decision, steps):
                    return False
            return False

    async def _gather(self) -> Generation:
        generation = await self._parts.inputs.read()
        self._parts.generations.set(generation)
        self.next_validity_change = next_validity_change(
            generation.translation, generation.view, generation.observed, datetime.now(UTC)
        )
        return generation

    async def _decide(self, generation: Generation) -> tuple[Decision, tuple[Step, ...]]:
        """Return the decision and the steps that do not have to wait; report drift on the way."""
        view, state, translation = generation.view, generation.observed, generation.translation
        observed, dispatcher = self._parts.context.observed, self._parts.dispatcher
        decision = await asyncio.to_thread(
            decide, translation, state, view.cluster_id, self._mode.drift, observed.baseline
        )
        deletions = select_deletions(decision.steps, self._unused_since, datetime.now(UTC), self._deletion_delay)
        self._unused_since, self.deletion_due, steps = deletions.marks, deletions.due, deletions.steps
        if not self._parts.inputs.locks:
            steps = with_console_protection(steps, state, view.cluster_id)
        dispatcher.planned(steps)
        await dispatcher.drift(decision.drifts, translation, await self._adopted(decision, generation))
        if self._mode.apply or not decision.drifts:
            observed.set_baseline(Baseline(ids=decision.ids, state=state))
        return decision, steps

    async def _adopted(self, decision: Decision, generation: Generation) -> Mapping[Drift, str]:
        """Write adopted drift to the Ingresses; return what they say from now on, by drift."""
        wanted = [d for d in decision.drifts if d.mode == "adopt"]
        if not wanted or self._mode.apply is None:
            return {}
        view, state, translation = generation.view, generation.observed, generation.translation
        now = datetime.now(UTC)
        changes = await asyncio.to_thread(proposals, wanted, view, state, translation, self._options, now)
        return await adopt(self._parts.context.kube, changes, view)

    async def _act(self, generation: Generation, decision: Decision, steps: tuple[Step, ...]) -> bool:
        """Execute `steps`; return whether a next round can go on."""
        assert self._mode.apply is not None
        parts = self._parts
        parts.dispatcher.log_start(steps)
        material = generation.translation.material
        outcome = await self._mode.apply(steps, decision.ids, material, parts.context)
        if outcome.structural or outcome.failures:
            parts.inputs.invalidate()
        if outcome.failures:
            parts.dispatcher.log_failures(outcome.failures)
            parts.hosts.publish(generation, outcome.failures)
        # what the ELB rejects is left out of the next round, so that the rest of its listeners goes on
        return not outcome.failures or parts.inputs.rejected.record(outcome.failures)

    def _finish(self, generation: Generation, worked: bool, changed: float) -> None:
        parts = self._parts
        parts.generations.set(generation)
        expected = expected_certificates(generation.translation, generation.observed)
        if self.count or worked:
            parts.verifier.verify_changes(expected, changed, time.time())
        else:
            parts.verifier.set_baseline(expected)
        self.count += 1
        self.in_step.set()
        parts.hosts.publish(generation)
        if self._mode.apply:
            parts.rollback.resume_interrupted(generation)
