"""The way back: what clients cannot use is taken from the load balancer, and parked.

``proof`` tells it which certificate and why. It goes back only where the ELB keeps versions, only to
a version that is not expired, and says so beforehand where there is none. The mark is written before
the rollback: whoever comes after a crash in between finds it and goes on (``unfinished``). What a mark
means is ``core.parking``'s affair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from certferry.controller.sync.apply import ApplyContext
from certferry.controller.verify.rotation import RotationResult
from certferry.core.model import quarantine as parking
from certferry.core.model.elb import Certificate, State
from certferry.core.translate.secret_certificates import ours
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbError

NO_VERSION: Final = "no previous version available"

_log = structlog.get_logger()


class Rollback:
    """One controller's. `ended` is told (certificate, end, sentence) of each attempt."""

    def __init__(self, hands: ApplyContext, ended: Callable[[Certificate, str, str], None]) -> None:
        self._hands = hands
        self._ended = ended
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.cluster_id = ""

    def start(self, rotation: RotationResult, why: str) -> None:
        """Clients cannot use the content of `rotation`: go back, and park it. Returns at once."""
        for key in {
            seat.certificate for seat in rotation.seats if seat.certificate.startswith("@certificate/")
        }:
            self._begin(key.removeprefix("@certificate/"), rotation.fingerprint, why)

    def resume_interrupted(self, state: State, cluster_id: str) -> None:
        """After each reconcile: a mark whose content is still there was set just before a crash."""
        for uid, certificate in ours(state, cluster_id).by_uid.items():
            chain = certificate.chain
            if chain and parking.parked(certificate.description) == parking.mark(chain):
                self._begin(uid, chain.fingerprint, "it is parked, and still there")

    async def stop(self) -> None:
        """End what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, uid: str, fingerprint: str, why: str) -> None:
        if uid not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._back(uid, fingerprint, why))
            self._tasks[uid] = task
            task.add_done_callback(lambda _: self._tasks.pop(uid, None))

    async def _back(self, uid: str, fingerprint: str, why: str) -> None:
        world = self._hands.world
        async with world.lock(uid):
            have = world.following(self.cluster_id, uid)
            if have is None or have.chain is None or have.chain.fingerprint != fingerprint:
                return  # something newer took its place meanwhile
            try:
                end, sentence = await self._exchange(have, why)
            except ElbError as error:
                end, sentence = "failed", error.message
        _log.warning("certificate taken back", certificate=have.name, end=end, why=why, how=sentence)
        self._hands.metrics.rollbacks.labels(end).inc()
        self._ended(have, end, sentence if end == "done" else f"{why}; not taken back: {sentence}")

    async def _exchange(self, have: Certificate, why: str) -> tuple[str, str]:
        elb, world, chain = self._hands.elb, self._hands.world, have.chain
        assert chain is not None
        if not {"versions", "rollback"} <= await extensions.available(elb):
            return "impossible", NO_VERSION
        now, refused = datetime.now(UTC), parking.mark(chain)
        kept = [
            v
            for v in await extensions.versions(elb, have.id)
            if v.digest != chain.digest and v.not_before <= now < v.not_after
        ]
        if not kept:
            return "impossible", f"{NO_VERSION} that is valid"
        if parking.parked(have.description) != refused:
            marked = {"description": parking.park(have.description, chain)}
            world.record_certificate(await elb.update_certificate(have.id, marked))
        reason = f"clients cannot use {chain.fingerprint[:16]}: {why}"[:200]
        back = await extensions.roll_back(elb, have.id, kept[0].number, reason)
        world.record_certificate(back)
        return "done", f"{why}; version {kept[0].number} ({kept[0].fingerprint[:16]}) serves again"
