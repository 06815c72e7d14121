"""The fast path: a Secret in use has new content, and its certificate gets it with one PUT.

The cache hands it each Secret as it arrives. It writes only where a full reconcile would write the
same and nothing else; everything beside that it leaves to the reconcile: first use, refusal, a
change of names. Contents of one Secret are written in the order in which they came.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

from msgspec.structs import replace

from certferry.controller.sync.apply import ApplyContext, content
from certferry.core import checks
from certferry.core.model import break_glass as emergency
from certferry.core.model import quarantine as parking
from certferry.core.model.elb import Certificate
from certferry.core.model.kubernetes import ObjectRef
from certferry.core.model.naming import described
from certferry.core.plan.plan import Step, certificate_step
from certferry.core.translate.secret_certificates import domain, mark_of, renewed
from certferry.core.translate.translate import Translation
from certferry.core.x509.pem import Chain
from certferry.elb.client.client import ElbError
from certferry.kube.client.cache import SecretUpdate


class FastPathListener(Protocol):
    """Who is told how it ended; one of the three for every Secret that was taken on."""

    def accepted(self, key: str, chain: Chain, changed: float, accepted: float) -> None:
        """The ELB took the content for certificate `key`; both instants are wall-clock seconds."""

    def warned(self, secret: ObjectRef, finding: checks.Finding) -> None:
        """The new content is served, and compared with the one before it something is to be said."""

    def declined(self) -> None:
        """Nothing was written: it is the reconcile's."""

    def failed(self, error: ElbError) -> None:
        """The ELB refused, or did not answer."""


class SecretFastPath:
    """Set ``translation`` after each reconcile; until then every change is the reconcile's."""

    def __init__(self, hands: ApplyContext, ends: FastPathListener, policy: checks.Policy) -> None:
        self._hands = hands
        self._policy = policy
        self._ends = ends
        self._pending: dict[str, SecretUpdate] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.translation: Translation | None = None
        self.cluster_id = ""

    def enqueue(self, arrival: SecretUpdate) -> None:
        """A Secret as it came in. Returns at once."""
        uid = arrival.secret.meta.uid
        if arrival.pair is None or not self.handles(uid):
            # what is being written is overtaken, whoever deals with the newer content
            self._pending.pop(uid, None)
            return
        self._pending[uid] = arrival
        if uid not in self._tasks:
            self._tasks[uid] = asyncio.get_running_loop().create_task(self._run(uid))

    def handles(self, uid: str) -> bool:
        """Whether a new content of this Secret is this path's to answer for."""
        return self.translation is not None and uid in self.translation.follows

    async def stop(self) -> None:
        """End what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, uid: str) -> None:
        try:
            while uid in self._pending:
                async with self._hands.world.lock(uid):
                    arrival = self._pending.pop(uid, None)
                    if arrival is None:
                        return
                    try:
                        await self._renew(uid, arrival)
                    except ElbError as error:
                        self._ends.failed(error)
        finally:
            # no await between the last look at what is pending and this
            self._tasks.pop(uid, None)

    async def _renew(self, uid: str, arrival: SecretUpdate) -> None:
        chain, pair = arrival.secret.chain, arrival.pair
        step = self._step(uid, chain) if chain else None
        if step is None or pair is None or chain is None or step.id is None:
            self._ends.declined()
            return
        metrics = self._hands.metrics
        metrics.decision.observe(max(0.0, time.time() - arrival.at))
        metrics.elb_writes.labels("update", "certificate").inc()
        have = self._hands.world.following(self.cluster_id, uid)
        written = await self._hands.elb.update_certificate(step.id, content(step.fields, pair))
        accepted = time.time()
        self._hands.world.record_certificate(written if written.chain else replace(written, chain=chain))
        self._ends.accepted(step.key, chain, arrival.at, accepted)
        for finding in self._compared(chain, have.chain if have else None):
            self._ends.warned(arrival.secret.ref, finding)

    def _compared(self, chain: Chain, before: Chain | None) -> list[checks.Finding]:
        """What only the moment of the change shows: afterwards there is nothing to compare with."""
        now = datetime.now(UTC)
        by_itself = checks.findings(chain, None, (), now, self._policy)
        found = checks.findings(chain, before, (), now, self._policy)
        return [f for f in found if f.severity != "info" and f not in by_itself]

    def _step(self, uid: str, chain: Chain) -> Step | None:
        """The one write that is due, if it is one that changes content alone."""
        translation = self.translation
        follow = translation.follows.get(uid) if translation else None
        have = self._hands.world.following(self.cluster_id, uid)
        if translation is None or follow is None or have is None or have.chain is None:
            return None
        if described(have.description).get("content") == mark_of(chain) and have.chain.digest != chain.digest:
            return None  # somebody changed it on the ELB: what becomes of that is the reconcile's
        now = datetime.now(UTC)
        if emergency.waits(have, chain, now):
            return None
        if (parked := parking.parked(have.description)) and parked == parking.mark(chain):
            return None
        if checks.refusal(chain, have.chain, follow.depend, now, self._policy):
            return None
        before = translation.desired.certificates.get(follow.key)
        if before is None or not (follow.hosts or _same_names(before, chain)):
            return None
        step = certificate_step(follow.key, renewed(before, chain), have)
        return step if step and step.material and step.verb == "update" else None


def _same_names(before: Certificate, chain: Chain) -> bool:
    """Whether the domain, which comes from the names, stays as it is."""
    return before.chain is not None and domain(before.chain.sans) == domain(chain.sans)
