"""Rollback: a certificate that clients cannot use is replaced by the last valid version and quarantined.

It goes back only to a version that is valid now and whose key is not compromised, and only on an ELB that keeps versions. The quarantine mark is
written before the rollback, so that a restart in between can resume it (``resume_interrupted``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from datetime import UTC, datetime
from typing import Final

import structlog

from certferry.controller.sync.apply import ApplyContext
from certferry.controller.sync.generation import Generation, Generations
from certferry.controller.verify.rotation import RotationResult
from certferry.core.checks.better import CertificateFacts, rank
from certferry.core.model import quarantine
from certferry.core.model.elb import Certificate
from certferry.core.translate.secret_certificates import own_certificates
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbError

NO_VERSION: Final = "no previous version available"

_log = structlog.get_logger()


class Rollback:
    """One controller's rollbacks. `finished` receives (certificate, result, sentence) of each attempt."""

    def __init__(
        self, context: ApplyContext, finished: Callable[[Certificate, str, str], None], generations: Generations
    ) -> None:
        self._context = context
        self._finished = finished
        self._generations = generations
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, rotation: RotationResult, why: str) -> None:
        """Roll back the certificates of `rotation`, which clients cannot use. Returns at once."""
        managed = {s.certificate for s in rotation.expected if s.certificate.startswith("@certificate/")}
        for key in managed:
            self._begin(key.removeprefix("@certificate/"), rotation.fingerprint, why)

    def resume_interrupted(self, generation: Generation) -> None:
        """Resume a rollback that a restart interrupted: its content is quarantined and still bound."""
        for uid, certificate in own_certificates(generation.observed, generation.view.cluster_id).by_uid.items():
            chain = certificate.chain
            if chain and quarantine.quarantined_mark(certificate.description) == quarantine.mark(chain):
                self._begin(uid, chain.fingerprint, "it is quarantined and still served")

    async def stop(self) -> None:
        """Cancel the rollbacks in flight."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, uid: str, fingerprint: str, why: str) -> None:
        if uid not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._roll_back(uid, fingerprint, why))
            self._tasks[uid] = task
            task.add_done_callback(lambda _: self._tasks.pop(uid, None))

    async def _roll_back(self, uid: str, fingerprint: str, why: str) -> None:
        generation, observed = self._generations.value, self._context.observed
        if generation is None:
            return  # another replica leads now, and resumes it
        async with observed.lock(uid):
            have = observed.following(generation.view.cluster_id, uid)
            if have is None or have.chain is None or have.chain.fingerprint != fingerprint:
                return  # a newer content took its place meanwhile
            try:
                result, sentence = await self._exchange(have, why, generation.translation.compromised)
            except ElbError as error:
                result, sentence = "failed", error.message
        _log.warning("certificate rolled back", certificate=have.name, result=result, why=why, how=sentence)
        self._context.metrics.rollbacks.labels(result).inc()
        self._finished(have, result, sentence if result == "done" else f"{why}; not rolled back: {sentence}")

    async def _exchange(self, have: Certificate, why: str, compromised: Set[str]) -> tuple[str, str]:
        elb, observed, chain = self._context.elb, self._context.observed, have.chain
        assert chain is not None
        if not {"versions", "rollback"} <= await extensions.available(elb):
            return "impossible", NO_VERSION
        now, rejected = datetime.now(UTC), quarantine.mark(chain)
        ranked = [
            (rank(CertificateFacts(v.domains, v.not_before, v.not_after), have.domain, now), v)
            for v in await extensions.versions(elb, have.id)
            if v.digest != chain.digest and not v.compromised and v.spki not in compromised
        ]
        usable = [(r, v) for r, v in ranked if r.valid]
        if not usable:
            return "impossible", f"{NO_VERSION} that is valid"
        best = max(usable, key=lambda pair: (pair[0].fitness, pair[1].number))[1]
        if quarantine.quarantined_mark(have.description) != rejected:
            marked = {"description": quarantine.quarantine(have.description, chain)}
            observed.record_certificates(await elb.update_certificate(have.id, marked))
        reason = f"clients cannot use {chain.fingerprint[:16]}: {why}"[:200]
        restored = await extensions.roll_back(elb, have.id, best.number, reason)
        observed.record_certificates(restored)
        return "done", f"{why}; version {best.number} ({best.fingerprint[:16]}) serves again"
