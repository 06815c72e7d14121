"""The data plane as a whole: xDS server, Envoy, what is asked of it. Run by the ELB's program.

Entered first and left last: traffic flows as long as anything does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from certferry.core.envoy import Options
from certferry.elb.plane.access import AccessLog
from certferry.elb.plane.envoy import EnvoySupervisor
from certferry.elb.plane.members import MemberHealth
from certferry.elb.plane.publication import Publication
from certferry.elb.plane.report import Report, Reporter, refusals, seatings
from certferry.elb.plane.xds import AdsServer
from certferry.latest import Latest
from certferry.settings import EnvoyOptions


@asynccontextmanager
async def data_plane(
    state: Path, sockets: Path, publications: Latest[Publication], options: EnvoyOptions
) -> AsyncIterator[Reporter]:
    """Serves `publications`, with files in `state` and sockets in `sockets`, for the time of the block."""
    async with contextlib.AsyncExitStack() as stack:
        ads = AdsServer(publications, Options(access_log=options.access_log))
        envoy = EnvoySupervisor(state, sockets, sockets / "xds.sock", options)
        stack.push_async_callback(_end, ads, envoy, options)
        await ads.start(sockets / "xds.sock")
        await envoy.start()
        health = MemberHealth(envoy.admin)
        await stack.enter_async_context(_beside(health.follow(publications)))
        if options.access_log:
            log = AccessLog(state, envoy.admin, lambda: ads.ledger().sittings(), options.access_log_bytes)
            await stack.enter_async_context(_beside(log.follow()))
        yield lambda: _report(ads, envoy, health)


async def _end(ads: AdsServer, envoy: EnvoySupervisor, options: EnvoyOptions) -> None:
    await ads.stop()
    if options.at_end == "leave":
        envoy.release()
    else:
        await envoy.stop()


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _report(ads: AdsServer, envoy: EnvoySupervisor, health: MemberHealth) -> Report:
    ledgers = ads.speaking()
    return Report(
        envoy=envoy.status(),
        connected=ads.connected(),
        seatings=seatings(ads.worlds.value.snapshot, ledgers),
        refusals=refusals(ledgers),
        members=health.members,
    )
