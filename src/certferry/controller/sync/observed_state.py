"""What the ELB has, as far as we know: the last observation, with what we wrote since on top.

``loop`` observes, ``apply`` and ``fast`` write. An observation that began before a write must not
undo it, or the write would be made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from msgspec.structs import replace

from certferry.core.drift.detect_unmarked import NOTHING, Baseline
from certferry.core.model.elb import Certificate, Pool, State
from certferry.core.plan.steps import Step
from certferry.core.translate.secret_certificates import ours


class ObservedState:
    """The observed state; ``state`` is None until the ELB was read once."""

    def __init__(self) -> None:
        self.state: State | None = None
        self._known = NOTHING
        self._shared_out: dict[str, Pool] = {}
        self._writes = 0
        self._written: dict[str, tuple[int, Certificate]] = {}
        self._following: dict[str, dict[str, str]] = {}
        """Cluster → Secret's uid → id of the certificate that follows it."""
        self._turns: dict[str, asyncio.Lock] = {}

    def lock(self, secret_uid: str) -> asyncio.Lock:
        """One writer at a time for the certificate of a Secret, in the order of asking."""
        return self._turns.setdefault(secret_uid, asyncio.Lock())

    def begin(self) -> int:
        """To be called before an observation, and handed to ``observed``."""
        return self._writes

    def observed(self, state: State, begun: int) -> None:
        """Take an observation; certificates that we wrote meanwhile stay as written."""
        newer = {ref: c for ref, (at, c) in self._written.items() if at > begun}
        self._written = {ref: w for ref, w in self._written.items() if w[0] > begun}
        if newer:
            certificates = {**state.certificates, **newer}
            state = replace(state, certificates={ref: certificates[ref] for ref in sorted(certificates)})
        self.state = state
        self._following.clear()

    def record_certificate(self, certificate: Certificate) -> None:
        """The ELB answered a write of ours with `certificate`."""
        self._writes += 1
        self._written[certificate.id] = (self._writes, certificate)
        if self.state is None:
            return
        known = certificate.id in self.state.certificates
        self.state = replace(
            self.state, certificates={**self.state.certificates, certificate.id: certificate}
        )
        if not known:
            self._following.clear()

    def record_members(self, pool: Pool) -> None:
        """The members of `pool` are these now."""
        self._shared_out[pool.id] = pool
        if self.state is not None:
            self.state = replace(self.state, pools={**self.state.pools, pool.id: pool})

    @property
    def known(self) -> Baseline:
        """What was there at the last decision, with what we did since: drift is told from it."""
        if self._shared_out:  # a burst of endpoints is put in once
            self._known, self._shared_out = self._known.shared_out(self._shared_out), {}
        return self._known

    def set_baseline(self, known: Baseline) -> None:
        """What was there, and is to be compared with next time."""
        self._known, self._shared_out = known, {}

    def record_steps(self, steps: Iterable[Step]) -> None:
        """What these changed is no drift."""
        self._known = self.known.changed(steps)

    def following(self, cluster_id: str, secret_uid: str) -> Certificate | None:
        """The certificate of ours that follows a Secret; the index is made once per observation."""
        state = self.state or State()
        if cluster_id not in self._following:
            by_uid = ours(state, cluster_id).by_uid
            self._following[cluster_id] = {uid: certificate.id for uid, certificate in by_uid.items()}
        return state.certificates.get(self._following[cluster_id].get(secret_uid, ""))
