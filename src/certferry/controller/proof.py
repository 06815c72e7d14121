"""From “accepted” to “served”: every changed certificate is looked for where clients meet it.

The loop and the fast path tell it what ought to be seen; it probes, keeps the three instants, and
hands each finished rotation on. It writes nothing itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from certferry.controller.probe import Served, Sight, Target, Unreachable, until_served
from certferry.core.model import State, bind_port
from certferry.core.objects import ObjectRef
from certferry.core.translate import Translation
from certferry.metrics import Metrics

PARALLEL: Final = 4
"""Handshakes at a time."""
PER_ROTATION: Final = 8
"""Places that one rotation is looked for at: a certificate of 100 hosts is not probed 100 times."""


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """A place where a certificate is seen, and whose Ingress it is."""

    target: Target
    ingress: ObjectRef
    certificate: str
    """Id or key."""
    fingerprint: str


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate's way: changed at the source, accepted by the ELB, served (None: it is not)."""

    fingerprint: str
    seats: tuple[Seat, ...]
    changed: float
    accepted: float
    served: float | None = None
    trouble: str | None = None
    """Where it is not served, and why."""


Finished = Callable[[Rotation], None]


def seats(translation: Translation, observed: State) -> dict[Target, Seat]:
    """What each address, port and host is to show."""
    found: dict[Target, Seat] = {}
    by_name = {b.name: b for b in observed.loadbalancers.values()}
    for name in sorted(translation.status):
        status = translation.status[name]
        for served in status.served:
            asked = translation.desired.loadbalancers.get(served.loadbalancer)
            balancer = observed.loadbalancers.get(served.loadbalancer) or (
                by_name.get(asked.name) if asked else None
            )
            if balancer is None or not balancer.vip_address:
                continue
            target = Target(
                address=balancer.vip_address, port=bind_port(balancer, served.port), host=served.host
            )
            found.setdefault(
                target,
                Seat(
                    target=target,
                    ingress=status.ref,
                    certificate=served.certificate,
                    fingerprint=served.fingerprint,
                ),
            )
    return found


class Proof:
    """What is expected where, and the probes under way."""

    def __init__(self, metrics: Metrics, finished: Finished, deadline: float) -> None:
        self._metrics = metrics
        self._finished = finished
        self._deadline = deadline
        self._expected: Mapping[Target, Seat] = {}
        self._by_certificate: dict[str, list[Seat]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._handshakes = asyncio.Semaphore(PARALLEL)

    def expect(self, expected: Mapping[Target, Seat], changed: float, accepted: float) -> None:
        """After a reconcile: look for whatever is to be seen now and was not before."""
        before = self._settle(expected)
        news = [s for t, s in expected.items() if _fingerprint(before.get(t)) != s.fingerprint]
        by_fingerprint: dict[str, list[Seat]] = {}
        for seat in news:
            by_fingerprint.setdefault(seat.fingerprint, []).append(seat)
        for fingerprint, group in by_fingerprint.items():
            self._start(fingerprint, group, changed, accepted)

    def believe(self, expected: Mapping[Target, Seat]) -> None:
        """After a reconcile that had nothing to do: nothing changed, so nothing is looked for."""
        self._settle(expected)

    def renewed(self, certificate: str, fingerprint: str, changed: float, accepted: float) -> None:
        """After the fast path: `certificate` (its key) has new content wherever it is seen."""
        group = [
            msgspec.structs.replace(seat, fingerprint=fingerprint)
            for seat in self._by_certificate.get(certificate, ())
        ]
        self._settle({**self._expected, **{seat.target: seat for seat in group}})
        if group:
            self._start(fingerprint, group, changed, accepted)

    async def stop(self) -> None:
        """End the probes under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _settle(self, expected: Mapping[Target, Seat]) -> Mapping[Target, Seat]:
        before, self._expected = self._expected, expected
        self._by_certificate = {}
        for seat in expected.values():
            self._by_certificate.setdefault(seat.certificate, []).append(seat)
        return before

    def _start(self, fingerprint: str, group: list[Seat], changed: float, accepted: float) -> None:
        self._metrics.rotation.labels("accepted").observe(max(0.0, accepted - changed))
        rotation = Rotation(fingerprint=fingerprint, seats=tuple(group), changed=changed, accepted=accepted)
        task = asyncio.get_running_loop().create_task(self._prove(rotation))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _prove(self, rotation: Rotation) -> None:
        targets = list(_spread(rotation.seats))
        sights = await asyncio.gather(*(self._look(t, rotation.fingerprint) for t in targets))
        late = [(t, s) for t, s in zip(targets, sights, strict=True) if not isinstance(s, Served)]
        if any(_fingerprint(self._expected.get(t)) != rotation.fingerprint for t, _ in late):
            return  # a newer one took its place meanwhile; that rotation tells the rest
        if late:
            self._metrics.rotations.labels(
                "unreachable" if isinstance(late[0][1], Unreachable) else "wrong"
            ).inc()
            self._finished(msgspec.structs.replace(rotation, trouble=_trouble(late)))
            return
        served = max(s.at for s in sights if isinstance(s, Served))
        self._metrics.rotation.labels("served").observe(max(0.0, served - rotation.changed))
        self._metrics.rotations.labels("served").inc()
        self._finished(msgspec.structs.replace(rotation, served=served))

    async def _look(self, target: Target, fingerprint: str) -> Sight:
        async with self._handshakes:
            return await until_served(
                target,
                fingerprint,
                self._deadline,
                lambda: _fingerprint(self._expected.get(target)) == fingerprint,
            )


def _spread(group: Iterable[Seat]) -> Iterable[Target]:
    """One host per address and port first, then more, up to the limit."""
    ordered = sorted({seat.target for seat in group})
    first = {(t.address, t.port): t for t in reversed(ordered)}
    return [*first.values(), *(t for t in ordered if t not in first.values())][:PER_ROTATION]


def _fingerprint(seat: Seat | None) -> str | None:
    return seat.fingerprint if seat else None


def _trouble(late: Sequence[tuple[Target, Sight]]) -> str:
    target, sight = late[0]
    more = f", and {len(late) - 1} more" if len(late) > 1 else ""
    if isinstance(sight, Unreachable):
        return f"{target} cannot be reached: {sight.why}{more}"
    return f"{target} still shows another certificate{more}"
