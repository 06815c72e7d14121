"""The fast path of a rotation: new content of a Secret in use becomes one PUT of its certificate.

It writes only if a full reconcile would write the same and nothing else. First use, a rejected certificate and a
change of names are left to the reconcile. Contents of one Secret are written in the order in which they came.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

import structlog
from msgspec.structs import replace

from certferry.controller.sync.apply import ApplyContext, content
from certferry.controller.sync.generation import Generations
from certferry.core import checks
from certferry.core.model import break_glass, quarantine
from certferry.core.model.elb import Certificate
from certferry.core.model.kubernetes import ObjectRef
from certferry.core.model.naming import described
from certferry.core.plan.plan import Step, certificate_step
from certferry.core.translate.secret_certificates import domain, mark_of, renewed
from certferry.core.translate.translate import Translation
from certferry.core.x509.pem import Chain
from certferry.elb.client.client import ElbError
from certferry.kube.client.cache import SecretUpdate

_log = structlog.get_logger()


class FastPathListener(Protocol):
    """Receives the result of each Secret that the fast path took: one of accepted, declined and failed."""

    def accepted(self, key: str, chain: Chain, changed: float, accepted: float) -> None:
        """Handle that the ELB accepted `chain` for certificate `key`. Both instants are seconds since 1970."""

    def warned(self, secret: ObjectRef, finding: checks.Finding) -> None:
        """Handle a finding that compares the new content with the one before."""

    def declined(self) -> None:
        """Handle that nothing was written, so that the reconcile decides."""

    def failed(self, error: ElbError) -> None:
        """Handle that the ELB rejected the write or did not answer."""


class SecretFastPath:
    """One task per Secret whose content changed; it decides by the newest generation."""

    def __init__(
        self, context: ApplyContext, listener: FastPathListener, policy: checks.CheckPolicy, generations: Generations
    ) -> None:
        self._context = context
        self._policy = policy
        self._listener = listener
        self._generations = generations
        self._pending: dict[str, SecretUpdate] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._declined: set[str] = set()

    def enqueue(self, update: SecretUpdate) -> None:
        """Take the newest content of a Secret. Returns at once."""
        uid = update.secret.meta.uid
        if update.pair is None or not self.handles(uid):
            # the newer content supersedes a pending one, also if the reconcile deals with it
            self._pending.pop(uid, None)
            return
        self._pending[uid] = update
        if uid not in self._tasks:
            self._tasks[uid] = asyncio.get_running_loop().create_task(self._run(uid))

    def handles(self, uid: str) -> bool:
        """Return whether new content of this Secret goes through the fast path."""
        generation = self._generations.value
        return generation is not None and uid in generation.translation.secret_uses

    def took(self, uid: str) -> bool:
        """Return whether the fast path dealt with the newest content of this Secret, or is about to.

        After a decline it returns False once. The view that brings the content then gets a reconcile of its own: the one
        that the decline triggered may have started from the view before.
        """
        if uid in self._declined:
            self._declined.discard(uid)
            return False
        return self.handles(uid)

    async def stop(self) -> None:
        """Cancel the writes in flight."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, uid: str) -> None:
        try:
            while uid in self._pending:
                async with self._context.observed.lock(uid):
                    update = self._pending.pop(uid, None)
                    if update is None:
                        return
                    try:
                        await self._renew(uid, update)
                    except ElbError as error:
                        self._listener.failed(error)
                    except Exception:  # noqa: BLE001 (the reconcile skips the object at fault)
                        _log.exception("fast path failed", secret=str(update.secret.meta.key))
                        self._decline(uid)
        finally:
            # no await between the last look at what is pending and this
            self._tasks.pop(uid, None)

    async def _renew(self, uid: str, update: SecretUpdate) -> None:
        chain, pair, generation = update.secret.chain, update.pair, self._generations.value
        usable = self._policy.usable_type(update.secret)
        if not usable or chain is None or pair is None or generation is None:
            self._decline(uid)
            return
        observed = self._context.observed
        have = observed.following(generation.view.cluster_id, uid)
        step = self._step(uid, chain, have, generation.translation) if have else None
        if step is None or step.id is None:
            self._decline(uid)
            return
        metrics = self._context.metrics
        metrics.write_delay.observe(max(0.0, time.time() - update.at))
        metrics.elb_writes.labels("update", "certificate").inc()
        written = await self._context.elb.update_certificate(step.id, content(step.fields, pair))
        accepted = time.time()
        observed.record_certificates(written if written.chain else replace(written, chain=chain))
        self._listener.accepted(step.key, chain, update.at, accepted)
        for finding in self._comparison(chain, have.chain if have else None):
            self._listener.warned(update.secret.ref, finding)

    def _decline(self, uid: str) -> None:
        self._declined.add(uid)
        self._listener.declined()

    def _comparison(self, chain: Chain, before: Chain | None) -> list[checks.Finding]:
        """Return the findings that exist only in comparison with `before`, which is gone after the write."""
        now = datetime.now(UTC)
        alone = checks.findings(chain, None, (), now, self._policy)
        findings = checks.findings(chain, before, (), now, self._policy)
        return [f for f in findings if f.severity != "info" and f not in alone]

    def _step(self, uid: str, chain: Chain, have: Certificate, translation: Translation) -> Step | None:
        """Return the one write that is due; None unless it changes content alone."""
        follow = translation.secret_uses.get(uid)
        if follow is None or have.chain is None:
            return None
        if described(have.description).get("content") == mark_of(chain) and have.chain.digest != chain.digest:
            return None  # drift: another client changed it on the ELB, so the reconcile decides
        now = datetime.now(UTC)
        if break_glass.waiting_for(have, chain, now):
            return None
        if (mark := quarantine.quarantined_mark(have.description)) and mark == quarantine.mark(chain):
            return None
        if {chain.spki, have.chain.spki} & translation.compromised:
            return None  # another certificate may be bound in its place
        if checks.refusal(chain, have.chain, follow.depend, now, self._policy):
            return None
        before = translation.desired.certificates.get(follow.key)
        if before is None or not (follow.hosts or _same_names(before, chain)):
            return None
        step = certificate_step(follow.key, renewed(before, chain), have)
        return step if step and step.material and step.verb == "update" else None


def _same_names(before: Certificate, chain: Chain) -> bool:
    """Return whether the certificate's `domain`, which comes from its names, stays the same."""
    return before.chain is not None and domain(before.chain.sans) == domain(chain.sans)
