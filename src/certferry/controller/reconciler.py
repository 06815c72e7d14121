"""One round: gather, decide, act, until the ELB is in step. From scratch each time.

The loop says when; this says in which order. What it leaves open is whether to try again, and how soon.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from certferry.controller.mode import ControllerMode
from certferry.controller.report.adopt_drift import adopt
from certferry.controller.report.dispatch import ReportDispatcher
from certferry.controller.sync.apply import ApplyContext
from certferry.controller.sync.console_protection import with_console_protection
from certferry.controller.sync.endpoints_fast_path import EndpointsFastPath
from certferry.controller.sync.inputs import InputReader, ReconcileInput
from certferry.controller.sync.next_expiry import next_validity_change
from certferry.controller.sync.secret_fast_path import SecretFastPath
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
"""Plans in a row; one that still finds work then waits like one that failed."""


class ReconcilerDependencies(NamedTuple):
    """Those that a round works with."""

    hands: ApplyContext
    gathering: InputReader
    telling: ReportDispatcher
    proof: RotationVerifier
    parking: Rollback
    fast: SecretFastPath
    endpoints: EndpointsFastPath


class Reconciler:
    """One controller's; ``run`` is one round."""

    def __init__(
        self,
        parts: ReconcilerDependencies,
        options: TranslateOptions,
        conduct: ControllerMode,
        garbage: timedelta,
    ) -> None:
        self._parts = parts
        self._options = options
        self._conduct = conduct
        self._garbage = garbage
        """How long something has to be unused before it goes."""
        self._marks: Mapping[str, datetime] = {}
        """Since when what could be deleted has been unused."""
        self.due: datetime | None = None
        """When the next of that may go."""
        self.next_validity_change: datetime | None = None
        """When a certificate begins or ceases to be valid next."""
        self.changed = time.time()
        """When the newest change came."""
        self.count = 0
        """Rounds that found nothing left to do."""
        self.in_step = asyncio.Event()

    async def run(self) -> bool:
        """Bring the ELB in step; whether there is nothing left to do. Raises ``ElbError`` and ``KubeError``."""
        with self._parts.hands.metrics.reconcile.time():
            started, worked = time.time(), False
            for _ in range(ROUNDS):
                picture = await self._picture()
                decision, steps = await self._decide(picture)
                if not steps or self._conduct.act is None:
                    self._parts.endpoints.translation = picture.translation if not steps else None
                    self._parts.endpoints.source_view = picture.view
                    self._settled(picture, worked, min(started, self.changed))
                    return True
                worked = True
                if not await self._act(picture, decision, steps):
                    return False
            return False

    async def _picture(self) -> ReconcileInput:
        picture = await self._parts.gathering.picture()
        self._parts.fast.cluster_id = self._parts.parking.cluster_id = picture.view.cluster_id
        self._parts.fast.translation = picture.translation if self._conduct.act else None
        self.next_validity_change = next_validity_change(
            picture.translation, picture.view, picture.state, datetime.now(UTC)
        )
        return picture

    async def _decide(self, picture: ReconcileInput) -> tuple[Decision, tuple[Step, ...]]:
        """What there is to do now, less what has to wait; drift is told on the way."""
        view, state, translation = picture
        world, telling = self._parts.hands.world, self._parts.telling
        decision = await asyncio.to_thread(
            decide, translation, state, view.cluster_id, self._conduct.drift, world.known
        )
        swept = select_deletions(decision.steps, self._marks, datetime.now(UTC), self._garbage)
        self._marks, self.due, steps = swept.marks, swept.due, swept.steps
        if not self._parts.gathering.locks:
            steps = with_console_protection(steps, state, view.cluster_id)
        telling.planned(steps)
        await telling.drift(decision.drifts, translation, await self._adopted(decision, picture))
        if self._conduct.act or not decision.drifts:
            world.set_baseline(Baseline(ids=decision.ids, state=state))
        return decision, steps

    async def _adopted(self, decision: Decision, picture: ReconcileInput) -> Mapping[Drift, str]:
        """What of the drift Ingresses say from now on."""
        wanted = [d for d in decision.drifts if d.mode == "adopt"]
        if not wanted or self._conduct.act is None:
            return {}
        found = await asyncio.to_thread(proposals, wanted, *picture, self._options, datetime.now(UTC))
        return await adopt(self._parts.hands.kube, found, picture.view)

    async def _act(self, picture: ReconcileInput, decision: Decision, steps: tuple[Step, ...]) -> bool:
        """Whether nothing was refused."""
        assert self._conduct.act is not None
        parts = self._parts
        parts.endpoints.translation = None
        parts.telling.log_start(steps)
        material = picture.translation.material
        outcome = await self._conduct.act(steps, decision.ids, material, parts.hands)
        parts.gathering.stale = parts.gathering.stale or outcome.structural or bool(outcome.failures)
        if outcome.failures:
            parts.telling.publish_state(picture, outcome.failures)
        return not outcome.failures

    def _settled(self, picture: ReconcileInput, worked: bool, changed: float) -> None:
        parts = self._parts
        expected = expected_certificates(picture.translation, picture.state)
        if self.count or worked:
            parts.proof.verify_changes(expected, changed, time.time())
        else:
            parts.proof.set_baseline(expected)
        self.count += 1
        self.in_step.set()
        parts.telling.publish_state(picture)
        if self._conduct.act:
            parts.parking.resume_interrupted(picture.state, picture.view.cluster_id)
