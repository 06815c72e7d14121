"""Faults of the ELB and the API server: no client request fails, no change is lost or written twice."""

from __future__ import annotations

import asyncio

from tests.controller.support.fake_kube import until
from tests.e2e.faults.run import FAULTS, outcome, stage
from tests.e2e.faults.system import FaultySystem
from tests.e2e.faults.tested import ROOT, TESTED
from tests.e2e.support.site import Site


async def test_no_fault_costs_a_handshake_or_a_change_and_each_change_is_one_write() -> None:
    async with stage() as on:
        for name, act in FAULTS.items():
            it = await outcome(on, name, act)
            assert (it.failures, it.lost, it.writes) == ((), 0, it.changes), it
            assert it.requests > 0


async def test_a_restart_after_any_step_of_a_plan_ends_with_one_of_each() -> None:
    async with stage() as on:
        system, nth = on.system, 0
        while True:
            nth += 1
            await system.killed_at(on.elb, "POST", "/elb/", nth)
            site = Site(system, f"step-{nth}", 11000 + nth, on.site.backend)
            hits, pair = on.elb.hits, site.pair()
            await asyncio.to_thread(site.publish, pair)
            made = asyncio.create_task(asyncio.to_thread(site.shows, pair))
            await _ended(system, made)
            on.elb.faults = []
            if made.done() and on.elb.hits < hits + nth:
                await made
                break  # the plan has fewer steps than that
            await asyncio.to_thread(system.start_controller)
            await made
            found = await asyncio.to_thread(site.elb.want, 200, "GET", system.elb_path("certificates"))
            uid = await asyncio.to_thread(site.uid)
            assert len([c for c in found["certificates"] if uid in (c["description"] or "")]) == 1
            listener = await asyncio.to_thread(site.listener)
            assert listener["protocol_port"] == site.port
        assert nth > 4


def test_each_fault_of_the_page_names_tests_that_exist() -> None:
    for row in TESTED:
        for name in row.tests:
            file, _, function = name.partition("::")
            assert f"def {function}(" in (ROOT / "tests" / file).read_text(), name


async def _ended(system: FaultySystem, made: asyncio.Task[None]) -> None:
    """Wait until the controller was killed or finished without a kill."""
    await until(lambda: system.child("controller").poll() is not None or made.done(), 30)
