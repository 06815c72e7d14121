"""The waits of the reconcile loop."""

from __future__ import annotations

import asyncio

import pytest

from certferry.controller.sync import debounce
from certferry.controller.sync.debounce import Debouncer, Timing


@pytest.fixture
def debouncer(monkeypatch: pytest.MonkeyPatch) -> Debouncer:
    monkeypatch.setattr(debounce, "REST", 1e6)
    monkeypatch.setattr(debounce, "LONGEST_REST", 3600.0)
    return Debouncer(Timing(debounce=0.0, debounce_max=0.0, resync=3600.0))


async def test_what_can_wait_waits_for_a_share_of_the_time(debouncer: Debouncer) -> None:
    debouncer.trigger_later()
    await asyncio.wait_for(debouncer.wait(), 10)  # nothing was long before
    debouncer.rest_after(1.0)
    debouncer.trigger_later()
    turn = asyncio.ensure_future(debouncer.wait())
    done, _ = await asyncio.wait([turn], timeout=0.05)
    assert not done
    debouncer.trigger()
    await asyncio.wait_for(turn, 10)


async def test_the_resync_does_not_wait(debouncer: Debouncer) -> None:
    debouncer.rest_after(1.0)
    debouncer.trigger_later()
    await asyncio.wait_for(debouncer.wait(longest=0.01), 10)
