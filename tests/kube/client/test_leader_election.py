"""Candidates for one Lease on an API that fails on command; the clock is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from certferry.core.model.kubernetes import Name
from certferry.kube.client.client import KubeClient
from certferry.kube.client.kubeconfig import Access, FixedToken
from certferry.kube.client.leader_election import LeaderElector, LeaseTimings
from tests.controller.support.fake_kube import FakeKube, until

TERMS = LeaseTimings(duration=2, deadline=1.2, retry=0.01)
LEASE = Name("certferry", "lease")


class Candidates:
    """As many as a test wants; ``now`` is everybody's monotonic clock."""

    def __init__(self, kube: FakeKube, stack: AsyncExitStack) -> None:
        self.kube = kube
        self.now = 1000.0
        self._stack = stack
        self._tasks: dict[LeaderElector, asyncio.Task[None]] = {}

    async def start(self, identity: str) -> LeaderElector:
        access = Access(self.kube.url, None, FixedToken(self.kube.token))
        client = await self._stack.enter_async_context(KubeClient(access))
        leader = LeaderElector(client, LEASE, identity, TERMS, lambda: self.now)
        self._tasks[leader] = asyncio.create_task(leader.run())
        return leader

    async def stop(self, leader: LeaderElector) -> None:
        task = self._tasks.pop(leader)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def stop_all(self) -> None:
        for leader in list(self._tasks):
            await self.stop(leader)

    async def turns(self, count: int = 3) -> None:
        """Until the lease was asked for so many times more."""
        seen = self.kube.count("GET", "/leases/")
        await until(lambda: self.kube.count("GET", "/leases/") >= seen + count)

    @property
    def spec(self) -> dict[str, object]:
        spec: dict[str, object] = self.kube.objects["leases", *LEASE]["spec"]
        return spec


@pytest.fixture
async def candidates() -> AsyncIterator[Candidates]:
    kube = FakeKube()
    await kube.start()
    async with AsyncExitStack() as stack:
        made = Candidates(kube, stack)
        yield made
        await made.stop_all()
    await kube.stop()


async def test_the_first_leads_and_the_second_waits(candidates: Candidates) -> None:
    first = await candidates.start("a")
    await until(lambda: first.leading)
    second = await candidates.start("b")
    await candidates.turns()
    assert (first.leading, second.leading) == (True, False)
    await until(lambda: second.holder.value == "a")


async def test_of_two_who_try_at_once_one_leads(candidates: Candidates) -> None:
    both = [await candidates.start("a"), await candidates.start("b")]
    await until(lambda: any(one.leading for one in both))
    await candidates.turns(6)
    assert sum(one.leading for one in both) == 1


async def test_a_clean_stop_hands_over_at_once(candidates: Candidates) -> None:
    first = await candidates.start("a")
    await until(lambda: first.leading)
    second = await candidates.start("b")
    await candidates.turns()
    await candidates.stop(first)
    await until(lambda: second.leading)  # the clock has not moved
    assert candidates.spec["leaseTransitions"] == 1


async def test_a_leader_that_is_gone_is_replaced_when_its_time_is_over(candidates: Candidates) -> None:
    candidates.kube.put(
        "leases", *LEASE, {"spec": {"holderIdentity": "gone", "leaseDurationSeconds": 2, "renewTime": None}}
    )
    second = await candidates.start("b")
    await candidates.turns()
    candidates.now += 1.9
    await candidates.turns()
    assert not second.leading
    candidates.now += 0.2
    await until(lambda: second.leading)


@pytest.mark.parametrize("status", [500, 403, 429, 409])
async def test_an_api_that_refuses_costs_the_lead_when_the_deadline_passes(
    candidates: Candidates, status: int
) -> None:
    first = await candidates.start("a")
    await until(lambda: first.leading)
    for _ in range(1000):
        candidates.kube.fail("GET", "/leases/", status)
    await candidates.turns()
    assert first.elected.value
    candidates.now += TERMS.deadline + 0.01
    await until(lambda: not first.elected.value)
    candidates.kube.failures.clear()
    await until(lambda: first.leading)


async def test_a_frozen_api_costs_the_lead_though_the_request_hangs(candidates: Candidates) -> None:
    first = await candidates.start("a")
    await until(lambda: first.leading)
    candidates.kube.frozen.clear()
    candidates.now += TERMS.deadline + 0.01
    await until(lambda: not first.elected.value)
    candidates.kube.frozen.set()
    await until(lambda: first.leading)
