"""The state of each host, derived from the newest settled generation and the newest probes, and reported.

It runs beside the reconciles and delays none. Invariant: all that the controller says of a host projects these states.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, get_args

from certferry.controller.report.dispatch import ReportDispatcher
from certferry.controller.sync.apply import Failure
from certferry.controller.sync.generation import Generation, Generations
from certferry.controller.verify.rotation import RotationVerifier
from certferry.core.diagnosis.cluster import with_host_states
from certferry.core.diagnosis.host_state import HostState
from certferry.core.diagnosis.host_values import Harm
from certferry.core.x509.expiry import Limits
from certferry.runtime.metrics import Metrics

GATHER: Final = 0.2
"""Least seconds between two reports, because each one reads every certificate."""
SHARE: Final = 10
"""A report is followed by a pause that is so many times as long, at most ``TICK``."""
TICK: Final = 5.0
"""Seconds after which the host seconds are counted although nothing happened."""

_HARMS: Final[tuple[Harm, ...]] = get_args(Harm)


class HostSeconds:
    """Seconds of all hosts that a claim wants, and those in which clients were harmed, as metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._hosts = 0
        self._harmed: Counter[Harm] = Counter()
        self._counted_at = 0.0
        for harm in _HARMS:
            metrics.host_wrong_seconds.labels(harm)

    def set(self, states: Iterable[HostState], at: float) -> None:
        """Count the seconds until the monotonic second `at`, and `states` from then on."""
        self.count(at)
        by_host: dict[tuple[str, int, str], set[Harm]] = {}
        for state in states:
            if state.claims:
                harms = by_host.setdefault((state.key.address, state.key.port, state.key.sni), set())
                harms |= {state.harm} if state.harm else set()
        self._hosts = len(by_host)
        self._harmed = Counter(min(harms, key=_HARMS.index) for harms in by_host.values() if harms)

    def count(self, at: float) -> None:
        """Count the seconds until `at`."""
        passed, self._counted_at = at - self._counted_at, at
        self._metrics.host_seconds.inc(self._hosts * passed)
        for harm, hosts in self._harmed.items():
            self._metrics.host_wrong_seconds.labels(harm).inc(hosts * passed)


class HostReporter:
    """Derives and reports the host states of one controller."""

    def __init__(
        self,
        dispatcher: ReportDispatcher,
        verifier: RotationVerifier,
        generations: Generations,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._dispatcher = dispatcher
        self._verifier = verifier
        self._generations = generations
        self._limits = limits
        self._seconds = HostSeconds(metrics)
        self._newest: tuple[Generation, Sequence[Failure]] | None = None
        self._changed = asyncio.Event()

    def publish(self, generation: Generation, failures: Sequence[Failure] = ()) -> None:
        """Report soon on a settled generation, or on one with the steps that the ELB rejected."""
        self._newest = generation, failures
        self._changed.set()

    async def run(self) -> None:
        """Report until cancelled."""
        probed = self._verifier.probed.sequence
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._wait(probed)
            if self._generations.value is None:  # another replica leads, and counts
                self._newest = None
                self._seconds.set((), time.monotonic())
            self._seconds.count(time.monotonic())
            if self._newest and (self._changed.is_set() or self._verifier.probed.sequence > probed):
                self._changed.clear()
                probed = self._verifier.probed.sequence
                begun = time.monotonic()
                await self._report(*self._newest)
                await asyncio.sleep(min(max(GATHER, SHARE * (time.monotonic() - begun)), TICK))

    async def _wait(self, probed: int) -> None:
        """Wait for a generation, or for probes after the sequence `probed`."""
        tasks = [
            asyncio.ensure_future(self._changed.wait()),
            asyncio.ensure_future(self._verifier.probed.after(probed)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _report(self, generation: Generation, failures: Sequence[Failure]) -> None:
        shown = self._verifier.probes
        diagnosis = await asyncio.to_thread(
            with_host_states, generation.cluster, datetime.now(UTC), self._limits, shown
        )
        self._seconds.set(diagnosis.states, time.monotonic())
        self._dispatcher.publish_state(diagnosis, failures)
