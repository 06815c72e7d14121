"""Event streams of open pages: one event “changed” without data; the page then loads itself again.

A slow browser misses nothing: any number of changes is one event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from starlette.responses import Response, StreamingResponse

from certferry.console.pages.request import Page, PageRequest
from certferry.console.web.errors import LoginRequired, PageError
from certferry.runtime.latest import Latest

DEBOUNCE: Final = 0.2
"""Seconds in which changes are collected."""
HEARTBEAT: Final = 15.0
"""Seconds without a change after which a comment is sent, so that a broken connection is noticed."""
LONGEST: Final = 600.0
"""Seconds of one stream. The browser reconnects, and its session is checked again."""


async def of_cluster(request: PageRequest) -> Response:
    """GET /live/{cluster}: changes of one cluster and its ELB."""
    return _stream(request, [request.part("cluster")])


async def of_all(request: PageRequest) -> Response:
    """GET /live: changes of all clusters that the user may see."""
    return _stream(request, [access.name for access in request.console.fleet.clusters])


def _stream(request: PageRequest, names: list[str]) -> Response:
    return StreamingResponse(_events(request, names), media_type="text/event-stream")


async def _events(request: PageRequest, names: list[str]) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    loop = asyncio.get_running_loop()
    end = loop.time() + LONGEST
    sources = _sources(request, names)
    sequences = [source.sequence for source in sources]
    while loop.time() < end and request.console.sessions.find(request.session.id) is not None:
        if await _changed(sources, sequences):
            await asyncio.sleep(DEBOUNCE)
            sequences = [source.sequence for source in sources]
            yield "event: changed\ndata:\n\n"
        else:
            yield ": heartbeat\n\n"


def _sources(request: PageRequest, names: list[str]) -> list[Latest[int]]:
    sources = [request.console.rotations.changed, request.console.feeds.probes.changed]
    for name in names:
        try:
            cluster = request.context_of(request.access(name))
        except (LoginRequired, PageError):
            if len(names) == 1:
                raise
            continue
        sources += [cluster.kube.changed, cluster.elb.changed]
    return sources


async def _changed(sources: list[Latest[int]], sequences: list[int]) -> bool:
    """Wait for a change of any source; False after ``HEARTBEAT`` seconds without one."""
    waiting = [
        asyncio.ensure_future(source.after(sequence)) for source, sequence in zip(sources, sequences, strict=True)
    ]
    try:
        done, _ = await asyncio.wait(waiting, timeout=HEARTBEAT, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for future in waiting:
            future.cancel()


PAGES: Final[tuple[Page, ...]] = (Page("/live", of_all), Page("/live/{cluster}", of_cluster))
