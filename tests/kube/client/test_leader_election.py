"""Candidates for one Lease on an API that fails on command, with the test's clock."""

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

TIMINGS = LeaseTimings(duration=2, deadline=1.2, retry=0.01)
LEASE = Name("certferry", "lease")


class Candidates:
    """Any number of candidates; ``now`` is the monotonic clock of all."""

    def __init__(self, kube: FakeKube, stack: AsyncExitStack) -> None:
        self.kube = kube
        self.now = 1000.0
        self._stack = stack
        self._tasks: dict[LeaderElector, asyncio.Task[None]] = {}

    async def start(self, identity: str) -> LeaderElector:
        access = Access(self.kube.url, None, FixedToken(self.kube.token))
        client = await self._stack.enter_async_context(KubeClient(access))
        leader = LeaderElector(client, LEASE, identity, TIMINGS, lambda: self.now)
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
        """Wait until the lease was read `count` more times."""
        seen = self.kube.count("GET", "/leases/")
        await until(lambda: self.kube.count("GET", "/leases/") >= seen + count)

    @property
    def spec(self) -> dict[str, object]:
        spec: dict[str, object] = self.kube.objects["leases", *LEASE[:2]]["spec"]
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


async def test_the_first_candidate_leads_and_the_second_waits(candidates: Candidates) -> None:
    first = await candidates.start("a")
    await until(lambda: first.leading)
    second = await candidates.start("b")
    await candidates.turns()
    assert (first.leading, second.leading) == (True, False)
    await until(lambda: second.holder.value == "a")


async def test_one_of_two_concurrent_candidates_leads(candidates: Candidates) -> None:
    both = [await candidates.start("a"), await candidates.start("b")]
    await until(lambda: any(one.leading for one in both))
    await candidates.turns(6)
    assert sum(one.leading for one in both) == 1


async def test_a_clean_stop_releases_the_lease_at_once(candidates: Candidates) -> None:
    first = await candidates.start("a")
    await until(lambda: first.leading)
    second = await candidates.start("b")
    await candidates.turns()
    await candidates.stop(first)
    await until(lambda: second.leading)  # the clock has not moved
    assert candidates.spec["leaseTransitions"] == 1


async def test_a_dead_leader_is_replaced_after_the_lease_duration(candidates: Candidates) -> None:
    candidates.kube.put(
        "leases", *LEASE[:2], {"spec": {"holderIdentity": "gone", "leaseDurationSeconds": 2, "renewTime": None}}
    )
    second = await candidates.start("b")
    await candidates.turns()
    candidates.now += 1.9
    await candidates.turns()
    assert not second.leading
    candidates.now += 0.2
    await until(lambda: second.leading)


@pytest.mark.parametrize("status", [500, 403, 429, 409])
async def test_api_errors_end_leadership_at_the_renew_deadline(candidates: Candidates, status: int) -> None:
    first = await candidates.start("a")
    await until(lambda: first.leading)
    for _ in range(1000):
        candidates.kube.fail("GET", "/leases/", status)
    await candidates.turns()
    assert first.elected.value
    candidates.now += TIMINGS.deadline + 0.01
    await until(lambda: not first.elected.value)
    candidates.kube.failures.clear()
    await until(lambda: first.leading)


async def test_a_hanging_request_does_not_extend_leadership(candidates: Candidates) -> None:
    first = await candidates.start("a")
    await until(lambda: first.leading)
    candidates.kube.frozen.clear()
    candidates.now += TIMINGS.deadline + 0.01
    await until(lambda: not first.elected.value)
    candidates.kube.frozen.set()
    await until(lambda: first.leading)
