"""Certificate changes made in the console, tracked through the three instants: changed, accepted, served.

“Accepted” is read from the ELB, “served” from the console's own TLS handshakes. Tracked rotations live in memory.
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
from certferry.core.translate.certificate_slots import KEY_KINDS, current_slots
from certferry.core.x509.pem import Chain
from certferry.elb.client.client import ElbError
from certferry.runtime.latest import Latest

_log = structlog.get_logger()

PAUSE: Final = 0.15
"""Seconds between two checks of a rotation."""
REMEMBERED: Final = 200
"""Rotations that are kept; the oldest is dropped."""
TARGETS: Final = 24
"""Most targets of one rotation, so that a certificate of hundreds of hosts is not probed hundreds of times."""
PER_USE: Final = 4
"""Most hosts of one certificate on one listener."""


class ProbeTarget(NamedTuple):
    """A listener and the host that clients request."""

    loadbalancer: str
    listener: str
    port: int
    host: str


class TargetProgress(NamedTuple):
    """Progress of a rotation at one target."""

    target: ProbeTarget
    address: str
    """Address and port that are really bound."""
    accepted: datetime | None = None
    served: datetime | None = None
    shown: str = ""
    """Fingerprint of the last handshake."""
    error: str = ""


class TrackedRotation:
    """One change: its new certificates, and the progress at each target."""

    def __init__(self, title: str, back: str, chains: Iterable[Chain], changed: datetime) -> None:
        self.id = secrets.token_urlsafe(9)
        self.title, self.back, self.changed = title, back, changed
        self.chains = {chain.fingerprint: chain for chain in chains}
        self.targets: dict[ProbeTarget, TargetProgress] = {}
        self.objection = ""
        """Sentence: why the controller rejects the change."""
        self.over = False
        """True after tracking has ended."""

    @property
    def is_served(self) -> bool:
        """True once every target serves a new certificate."""
        return bool(self.targets) and all(progress.served for progress in self.targets.values())

    @property
    def accepted(self) -> datetime | None:
        """Time when the ELB had the change for the last target; None if one is missing."""
        return _last(progress.accepted for progress in self.targets.values())

    @property
    def served(self) -> datetime | None:
        """Time when the last target served the change; None if one is missing."""
        return _last(progress.served for progress in self.targets.values())


class Tracking(NamedTuple):
    """A rotation and how to follow it in the newest derived state."""

    cluster: ClusterContext
    rotation: TrackedRotation
    uses: Callable[[DerivedState], Iterable[Use]]
    objection: Callable[[DerivedState], str]


class RotationTracker:
    """The latest rotations, by cluster and id."""

    def __init__(self, timeout: float) -> None:
        self.changed: Latest[int] = Latest(0)
        self._timeout = timeout
        self._rotations: dict[tuple[str, str], TrackedRotation] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, cluster: str, identity: str) -> TrackedRotation | None:
        """Return the rotation with this id; None if it is no longer remembered."""
        return self._rotations.get((cluster, identity))

    def start(
        self,
        cluster: ClusterContext,
        rotation: TrackedRotation,
        uses: Callable[[DerivedState], Iterable[Use]],
        objection: Callable[[DerivedState], str] = lambda derived: "",
    ) -> None:
        """Track `rotation` at the hosts of `uses` until it is served or the timeout has passed."""
        self._rotations[cluster.name, rotation.id] = rotation
        while len(self._rotations) > REMEMBERED:
            del self._rotations[next(iter(self._rotations))]
        for place in _targets(uses(cluster.derived)):
            rotation.targets[place] = _progress(place, cluster.elb.state)
        tracking = Tracking(cluster, rotation, uses, objection)
        task = asyncio.get_running_loop().create_task(self._track(tracking))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("rotation tracking failed", error=type(error).__name__, exc_info=error)

    async def close(self) -> None:
        """End all tracking."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _track(self, tracking: Tracking) -> None:
        loop, rotation = asyncio.get_running_loop(), tracking.rotation
        end = loop.time() + self._timeout
        try:
            while not rotation.is_served and loop.time() < end:
                before = (dict(rotation.targets), rotation.objection)
                await _check(tracking)
                if (rotation.targets, rotation.objection) != before:
                    self.changed.set(self.changed.value + 1)
                if not rotation.is_served:
                    await asyncio.sleep(PAUSE)
        finally:
            rotation.over = True
            self.changed.set(self.changed.value + 1)


async def _check(tracking: Tracking) -> None:
    cluster, rotation = tracking.cluster, tracking.rotation
    try:
        state = await cluster.elb.refresh()
    except ElbError as error:
        rotation.objection = str(error)
        return
    derived = cluster.derived
    rotation.objection = tracking.objection(derived)
    for place in _targets(tracking.uses(derived)):
        # a listener may have opened since the start
        rotation.targets.setdefault(place, _progress(place, state))
    for place, progress in list(rotation.targets.items()):
        if progress.accepted is None and _bound(place, state) & rotation.chains.keys():
            progress = progress._replace(accepted=datetime.now(UTC))
        if progress.accepted and not progress.served:
            progress = await _probed(cluster, progress, rotation.chains)
        rotation.targets[place] = progress


def _last(times: Iterable[datetime | None]) -> datetime | None:
    """Return the latest time; None if one is missing or there is none."""
    known = list(times)
    return max((t for t in known if t), default=None) if all(known) else None


def _targets(uses: Iterable[Use]) -> list[ProbeTarget]:
    targets = [
        ProbeTarget(use.loadbalancer, use.listener, use.port, host) for use in uses for host in hosts_of(use)[:PER_USE]
    ]
    return list(dict.fromkeys(targets))[:TARGETS]


def _progress(place: ProbeTarget, state: State) -> TargetProgress:
    balancer = state.loadbalancers.get(place.loadbalancer)
    if balancer is None or not balancer.vip_address:
        return TargetProgress(place, "", error="The load balancer has no address.")
    address = target(balancer, place.port, place.host)
    return TargetProgress(place, f"{address.address}:{address.port}")


def _bound(place: ProbeTarget, state: State) -> set[str]:
    """Return fingerprints that the listener selects for the host, according to the ELB."""
    slots = current_slots(state.listeners.get(place.listener), state.certificates)
    certificates = [slots.answer(place.host, kind) for kind in KEY_KINDS]
    return {c.chain.fingerprint for c in certificates if c and c.chain}


async def _probed(cluster: ClusterContext, progress: TargetProgress, chains: Mapping[str, Chain]) -> TargetProgress:
    place = progress.target
    balancer = cluster.elb.state.loadbalancers.get(place.loadbalancer)
    if balancer is None or not balancer.vip_address:
        return progress
    bound = [chain for digest, chain in chains.items() if digest in _bound(place, cluster.elb.state)]
    result = await cluster.probes.probe(target(balancer, place.port, place.host), bound)
    expected = chains.get(result.fingerprint)
    error = result.objection(expected) if expected else result.error
    served = datetime.now(UTC) if expected and not error else None
    return progress._replace(served=served, shown=result.fingerprint, error=error)
