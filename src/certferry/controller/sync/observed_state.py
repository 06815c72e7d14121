"""The observed state: the last observation of the ELB, with our own writes since then on top.

Invariant: an observation that began before a write never undoes it, because the write would be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from msgspec.structs import replace

from certferry.core.drift.detect_unmarked import NOTHING, Baseline
from certferry.core.model.elb import Certificate, Pool, State
from certferry.core.plan.steps import Step
from certferry.core.translate.secret_certificates import own_certificates


class ObservedState:
    """``state`` is None before the first observation."""

    def __init__(self) -> None:
        self.state: State | None = None
        self._baseline = NOTHING
        self._changed_pools: dict[str, Pool] = {}
        self._writes = 0
        self._written: dict[str, tuple[int, Certificate]] = {}
        self._following: dict[str, dict[str, str]] = {}
        """Cluster id to Secret uid to id of the managed certificate."""
        self._locks: dict[str, asyncio.Lock] = {}

    def lock(self, secret_uid: str) -> asyncio.Lock:
        """Return the lock of a Secret's certificate; waiting writers get it in order."""
        return self._locks.setdefault(secret_uid, asyncio.Lock())

    def begin(self) -> int:
        """Return the mark of an observation that begins now, for ``observed``."""
        return self._writes

    def observed(self, state: State, begun: int) -> None:
        """Take an observation; certificates written since `begun` stay as written."""
        newer = {ref: c for ref, (at, c) in self._written.items() if at > begun}
        self._written = {ref: w for ref, w in self._written.items() if w[0] > begun}
        if newer:
            certificates = {**state.certificates, **newer}
            state = replace(state, certificates={ref: certificates[ref] for ref in sorted(certificates)})
        self.state = state
        self._following.clear()

    def record_certificates(self, *certificates: Certificate) -> None:
        """Record the certificates that the ELB returned for writes."""
        self._writes += 1
        written = {certificate.id: certificate for certificate in certificates}
        self._written |= {ref: (self._writes, certificate) for ref, certificate in written.items()}
        if self.state is None:
            return
        if not written.keys() <= self.state.certificates.keys():
            self._following.clear()
        self.state = replace(self.state, certificates={**self.state.certificates, **written})

    def record_members(self, pool: Pool) -> None:
        """Record the pool after a write of its members."""
        self._changed_pools[pool.id] = pool
        if self.state is not None:
            self.state = replace(self.state, pools={**self.state.pools, pool.id: pool})

    @property
    def baseline(self) -> Baseline:
        """The state at the last decision with our writes since then; drift is the difference from it."""
        if self._changed_pools:  # merged once for a burst of endpoint changes
            self._baseline, self._changed_pools = self._baseline.shared_out(self._changed_pools), {}
        return self._baseline

    def set_baseline(self, baseline: Baseline) -> None:
        """Replace the baseline."""
        self._baseline, self._changed_pools = baseline, {}

    def record_steps(self, steps: Iterable[Step]) -> None:
        """Record executed steps, so that they do not count as drift."""
        self._baseline = self.baseline.changed(steps)

    def following(self, cluster_id: str, secret_uid: str) -> Certificate | None:
        """Return the managed certificate of a Secret, None if absent. The index is built once per observation."""
        state = self.state or State()
        if cluster_id not in self._following:
            by_uid = own_certificates(state, cluster_id).by_uid
            self._following[cluster_id] = {uid: certificate.id for uid, certificate in by_uid.items()}
        return state.certificates.get(self._following[cluster_id].get(secret_uid, ""))
