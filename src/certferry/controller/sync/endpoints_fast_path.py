"""Endpoints that come and go, on a path of their own: they change members of pools and nothing else.

The loop hands it each view in which more than EndpointSlices and Nodes did not change. It writes
the difference of the members, without a translation of all Ingresses and without reading the ELB;
where anything is unclear, the reconcile is asked. It and a reconcile take turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from msgspec.structs import replace

from certferry.controller.sync.apply import ApplyContext
from certferry.core.model.elb import Member, Pool
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.plan.create_update import member_steps
from certferry.core.plan.steps import Step
from certferry.core.translate.members import Backends, members
from certferry.core.translate.pools import MemberSource
from certferry.core.translate.translate import Translation
from certferry.elb.client import client as elbs
from certferry.elb.client import wire
from certferry.elb.client.client import ElbError
from certferry.runtime.latest import Latest

GATHER: Final = 0.05
"""Seconds in which changes are collected: a rollout changes many endpoints, one after the other."""

_log = structlog.get_logger()


class EndpointsFastPath:
    """Set ``translation`` with what it was ``made_of`` after each reconcile that ended in step; until then all
    is the reconcile's.
    """

    def __init__(
        self,
        hands: ApplyContext,
        views: Latest[ClusterView | None],
        backends: Backends,
        unclear: Callable[[], None],
    ) -> None:
        self._hands = hands
        self._views = views
        self._backends = backends
        self._unclear = unclear
        self._waiting: set[Name] = set()
        self._woken = asyncio.Event()
        self.source_view: ClusterView | None = None
        """What the translation was made of."""
        self.turn = asyncio.Lock()
        """Held by a reconcile while it works."""
        self.translation: Translation | None = None
        self.cluster_id = ""

    def offer(self, before: ClusterView, view: ClusterView) -> None:
        """Endpoints changed, and nothing else. Returns at once."""
        if before.nodes != view.nodes:
            self._unclear()
            return
        self._waiting |= changed(before, view)
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._woken.wait()
            await asyncio.sleep(GATHER)
            self._woken.clear()
            async with self.turn:
                services, self._waiting = self._waiting, set()
                try:
                    done = await self._follow(services)
                except ElbError as error:
                    _log.warning("members not changed", error=str(error))
                    done = False
            if not done:
                self._unclear()

    async def _follow(self, services: set[Name]) -> bool:
        translation, view, made_of = self.translation, self._views.value, self.source_view
        if translation is None or view is None or made_of is None:
            return False
        if not _same_but_for_endpoints(made_of, view):
            return False  # a Service that is not seen yet has no members: that would take them away
        for key, source in translation.sources.items():
            if source.service in services:
                pool = self._pool(translation.desired.pools[key])
                if pool is None:
                    return False
                await self._members(pool, source, view)
        return True

    def _pool(self, wanted: Pool) -> Pool | None:
        """The pool on the ELB."""
        state = self._hands.world.state
        same = [
            p
            for p in (state.pools.values() if state else ())
            if (p.loadbalancer_id, p.name, p.protocol)
            == (wanted.loadbalancer_id, wanted.name, wanted.protocol)
            and p.description == wanted.description
        ]
        return same[0] if len(same) == 1 else None

    async def _members(self, pool: Pool, source: MemberSource, view: ClusterView) -> None:
        want = members(view, source.service, source.backend, self._backends, adaptive=source.adaptive)
        there = {m.id: m for m in pool.members}
        for step in member_steps(pool.id, want, pool.members):
            await self._carry_out(pool.id, step, there)
            after = replace(pool, members=tuple(sorted(there.values(), key=_place)))
            self._hands.world.record_members(after)

    async def _carry_out(self, pool: str, step: Step, there: dict[str, Member]) -> None:
        resource = elbs.members_of(pool)
        self._hands.metrics.elb_writes.labels(step.verb, "member").inc()
        if step.verb == "delete":
            await self._hands.elb.delete(resource, step.id or step.key)
            there.pop(step.id or "", None)
            return
        if step.verb == "create":
            made = await self._hands.elb.create(resource, step.fields)
        else:
            made = await self._hands.elb.update(resource, step.id or step.key, step.fields)
        member = wire.member(made)
        there[member.id] = member


def only_endpoints(before: ClusterView, view: ClusterView) -> bool:
    """Whether the views differ in EndpointSlices and Nodes alone."""
    return replace(before, slices=view.slices, nodes=view.nodes) == view


def _same_but_for_endpoints(before: ClusterView, view: ClusterView) -> bool:
    """As above, and contents of Secrets lead nowhere."""
    return only_endpoints(replace(before, secrets=view.secrets), view)


def changed(before: ClusterView, view: ClusterView) -> set[Name]:
    """Services whose EndpointSlices differ."""
    names: Iterable[Name] = before.slices.keys() | view.slices.keys()
    return {n for n in names if before.slices.get(n) != view.slices.get(n)}


def _place(member: Member) -> tuple[str, int]:
    return member.address, member.protocol_port
