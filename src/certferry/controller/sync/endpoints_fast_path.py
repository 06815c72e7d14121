"""The fast path of endpoints: a change of EndpointSlices alone changes only members of pools.

It writes the difference of the members without a translation and without reading the ELB. If anything is unclear,
it triggers the reconcile. It and a reconcile exclude each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from msgspec.structs import replace

from certferry.controller.sync.apply import ApplyContext
from certferry.controller.sync.generation import Generations
from certferry.core.model.elb import Member, Pool
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.plan.create_update import member_steps
from certferry.core.plan.steps import Step
from certferry.core.translate.members import Backends, members
from certferry.core.translate.pools import MemberSource
from certferry.elb.client import client as elbs
from certferry.elb.client import wire
from certferry.elb.client.client import ElbError
from certferry.runtime.latest import Latest

GATHER: Final = 0.05
"""Seconds for which changes are collected: a rollout changes many endpoints one after the other."""

_log = structlog.get_logger()


class EndpointsFastPath:
    """Collects changed Services and updates their members, based on the newest settled generation."""

    def __init__(
        self,
        context: ApplyContext,
        views: Latest[ClusterView | None],
        generations: Generations,
        backends: Backends,
        trigger_reconcile: Callable[[], None],
    ) -> None:
        self._context = context
        self._views = views
        self._generations = generations
        self._backends = backends
        self._trigger_reconcile = trigger_reconcile
        self._changed_services: set[Name] = set()
        self._woken = asyncio.Event()
        self.lock = asyncio.Lock()
        """Held by a reconcile while it works."""

    def enqueue(self, before: ClusterView, view: ClusterView) -> None:
        """Take a change of endpoints alone. Returns at once."""
        if before.nodes != view.nodes:
            self._trigger_reconcile()
            return
        self._changed_services |= changed(before, view)
        self._woken.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._woken.wait()
            await asyncio.sleep(GATHER)
            self._woken.clear()
            async with self.lock:
                services, self._changed_services = self._changed_services, set()
                try:
                    done = await self._update(services)
                except ElbError as error:
                    _log.warning("members not changed", error=str(error))
                    done = False
            if not done:
                self._trigger_reconcile()

    async def _update(self, services: set[Name]) -> bool:
        generation, view = self._generations.value, self._views.value
        if generation is None or not generation.in_step or view is None:
            return False
        if not _same_but_for_endpoints(generation.view, view):
            return False  # a Service that the translation did not know yet would lose its members
        translation = generation.translation
        for key, source in translation.sources.items():
            if source.service in services:
                pool = self._pool(translation.desired.pools[key])
                if pool is None:
                    return False
                await self._members(pool, source, view)
        return True

    def _pool(self, wanted: Pool) -> Pool | None:
        """Return the pool on the ELB, None unless exactly one matches."""
        state = self._context.observed.state
        same = [
            p
            for p in (state.pools.values() if state else ())
            if (p.loadbalancer_id, p.name, p.protocol) == (wanted.loadbalancer_id, wanted.name, wanted.protocol)
            and p.description == wanted.description
        ]
        return same[0] if len(same) == 1 else None

    async def _members(self, pool: Pool, source: MemberSource, view: ClusterView) -> None:
        want = members(view, source.service, source.backend, self._backends, adaptive=source.adaptive)
        there = {m.id: m for m in pool.members}
        for step in member_steps(pool.id, want, pool.members):
            await self._execute(pool.id, step, there)
            after = replace(pool, members=tuple(sorted(there.values(), key=_place)))
            self._context.observed.record_members(after)

    async def _execute(self, pool: str, step: Step, there: dict[str, Member]) -> None:
        resource = elbs.members_of(pool)
        self._context.metrics.elb_writes.labels(step.verb, "member").inc()
        if step.verb == "delete":
            await self._context.elb.delete(resource, step.id or step.key)
            there.pop(step.id or "", None)
            return
        if step.verb == "create":
            made = await self._context.elb.create(resource, step.fields)
        else:
            made = await self._context.elb.update(resource, step.id or step.key, step.fields)
        member = wire.member(made)
        there[member.id] = member


def only_endpoints(before: ClusterView, view: ClusterView) -> bool:
    """Return whether the views differ in EndpointSlices and Nodes alone."""
    return replace(before, slices=view.slices, nodes=view.nodes) == view


def _same_but_for_endpoints(before: ClusterView, view: ClusterView) -> bool:
    """Return whether the views differ in EndpointSlices, Nodes and contents of Secrets alone."""
    return only_endpoints(replace(before, secrets=view.secrets), view)


def changed(before: ClusterView, view: ClusterView) -> set[Name]:
    """Return the Services whose EndpointSlices differ."""
    names: Iterable[Name] = before.slices.keys() | view.slices.keys()
    return {n for n in names if before.slices.get(n) != view.slices.get(n)}


def _place(member: Member) -> tuple[str, int]:
    return member.address, member.protocol_port
