"""A change on its way, followed until clients see it: changed, accepted, served.

A page that changes a certificate starts one and leads to its page. The console looks for itself: at
the ELB for “accepted”, with TLS handshakes for “served”. What it saw lives as long as the console.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

import structlog

from certferry.console.state.cluster_view import ClusterContext, DerivedState
from certferry.console.state.probes import hosts_of, target
from certferry.core.diagnosis.usage import Use
from certferry.core.model.elb import State
from certferry.core.translate.certificate_slots import KINDS, present
from certferry.core.x509.pem import Chain
from certferry.elb.client.client import ElbError
from certferry.runtime.latest import Latest

_log = structlog.get_logger()

PAUSE: Final = 0.15
"""Seconds between two looks."""
KEPT: Final = 200
PLACES: Final = 24
"""Places that are looked at; a certificate of hundreds of hosts is not looked at hundreds of times."""
PER_USE: Final = 4


class ProbeTarget(NamedTuple):
    """A listener and a name that clients ask for."""

    loadbalancer: str
    listener: str
    port: int
    host: str


class TargetProgress(NamedTuple):
    """How far the change has come at one place."""

    where: ProbeTarget
    at: str
    """Address and port, as they are really reached."""
    accepted: datetime | None = None
    served: datetime | None = None
    shown: str = ""
    """The fingerprint of the last handshake."""
    trouble: str = ""


class TrackedRotation:
    """One change: what is expected where, and what was seen."""

    def __init__(self, title: str, back: str, chains: Iterable[Chain], changed: datetime) -> None:
        self.id = secrets.token_urlsafe(9)
        self.title, self.back, self.changed = title, back, changed
        self.chains = {chain.fingerprint: chain for chain in chains}
        self.steps: dict[ProbeTarget, TargetProgress] = {}
        self.objection = ""
        """Why the controller does not take it."""
        self.over = False

    @property
    def served(self) -> bool:
        """Whether every place shows it."""
        return bool(self.steps) and all(step.served for step in self.steps.values())

    @property
    def accepted(self) -> datetime | None:
        """When the last place had it on the ELB."""
        times = [step.accepted for step in self.steps.values()]
        return max((t for t in times if t), default=None) if times and all(times) else None

    @property
    def seen(self) -> datetime | None:
        """When the last place was seen to serve it."""
        times = [step.served for step in self.steps.values()]
        return max((t for t in times if t), default=None) if times and all(times) else None


class RotationTracker:
    """Those of late, by cluster and id."""

    def __init__(self, patience: float) -> None:
        self.changed: Latest[int] = Latest(0)
        self._patience = patience
        self._known: dict[tuple[str, str], TrackedRotation] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, cluster: str, identity: str) -> TrackedRotation | None:
        """The one with this id, while it is remembered."""
        return self._known.get((cluster, identity))

    def start(
        self,
        cluster: ClusterContext,
        rotation: TrackedRotation,
        uses: Callable[[DerivedState], Iterable[Use]],
        objection: Callable[[DerivedState], str] = lambda derived: "",
    ) -> str:
        """Follow `rotation` at the places of `uses` until it is served or time is up; the path of its page."""
        self._known[cluster.name, rotation.id] = rotation
        while len(self._known) > KEPT:
            del self._known[next(iter(self._known))]
        for where in _places(uses(cluster.derived)):
            rotation.steps[where] = _step(where, cluster.elb.state)
        task = asyncio.get_running_loop().create_task(self._follow(cluster, rotation, uses, objection))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return rotation.id

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("rotation not followed", error=type(error).__name__, exc_info=error)

    async def close(self) -> None:
        """End all."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(
        self,
        cluster: ClusterContext,
        rotation: TrackedRotation,
        uses: Callable[[DerivedState], Iterable[Use]],
        objection: Callable[[DerivedState], str],
    ) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience
        try:
            while not rotation.served and loop.time() < end:
                before = (dict(rotation.steps), rotation.objection)
                await self._look(cluster, rotation, uses, objection)
                if (rotation.steps, rotation.objection) != before:
                    self.changed.set(self.changed.value + 1)
                if not rotation.served:
                    await asyncio.sleep(PAUSE)
        finally:
            rotation.over = True
            self.changed.set(self.changed.value + 1)

    async def _look(
        self,
        cluster: ClusterContext,
        rotation: TrackedRotation,
        uses: Callable[[DerivedState], Iterable[Use]],
        objection: Callable[[DerivedState], str],
    ) -> None:
        try:
            state = await cluster.elb.refresh()
        except ElbError as error:
            rotation.objection = str(error)
            return
        derived = cluster.derived
        rotation.objection = objection(derived)
        for where in _places(uses(derived)):
            # a listener that opened only now
            rotation.steps.setdefault(where, _step(where, state))
        for where, step in list(rotation.steps.items()):
            if step.accepted is None and _on_elb(where, state) & rotation.chains.keys():
                step = step._replace(accepted=datetime.now(UTC))
            if step.accepted and not step.served:
                step = await _shown(cluster, where, step, rotation.chains)
            rotation.steps[where] = step


def _places(uses: Iterable[Use]) -> list[ProbeTarget]:
    found = [
        ProbeTarget(use.loadbalancer, use.listener, use.port, host)
        for use in uses
        for host in hosts_of(use)[:PER_USE]
    ]
    return list(dict.fromkeys(found))[:PLACES]


def _step(where: ProbeTarget, state: State) -> TargetProgress:
    balancer = state.loadbalancers.get(where.loadbalancer)
    if balancer is None or not balancer.vip_address:
        return TargetProgress(where, "", trouble="The load balancer has no address.")
    reached = target(balancer, where.port, where.host)
    return TargetProgress(where, f"{reached.address}:{reached.port}")


def _on_elb(where: ProbeTarget, state: State) -> set[str]:
    """Fingerprints that the listener is to show for the host, as the ELB has it."""
    seats = present(state.listeners.get(where.listener), state.certificates)
    answers = [seats.answer(where.host, kind) for kind in KINDS]
    return {answer.chain.fingerprint for answer in answers if answer and answer.chain}


async def _shown(
    cluster: ClusterContext, where: ProbeTarget, step: TargetProgress, chains: Mapping[str, Chain]
) -> TargetProgress:
    balancer = cluster.elb.state.loadbalancers.get(where.loadbalancer)
    if balancer is None or not balancer.vip_address:
        return step
    result = await cluster.probes.look(target(balancer, where.port, where.host))
    due = chains.get(result.fingerprint)
    objection = result.objection(due) if due else result.trouble
    served = datetime.now(UTC) if due and not objection else None
    return step._replace(served=served, shown=result.fingerprint, trouble=objection)
