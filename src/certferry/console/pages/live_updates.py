"""The event stream of an open page: “something changed”, and nothing more.

The page then asks for itself again. An event carries no data, so a slow browser misses nothing: however
many changes there were, it is told once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from starlette.responses import Response, StreamingResponse

from certferry.console.pages.request import Page, PageRequest
from certferry.console.web.errors import LoginRequired, PageError
from certferry.runtime.latest import Latest

BREATH: Final = 0.2
"""Seconds in which changes are collected."""
BEAT: Final = 15.0
"""Seconds after which a comment is sent, so that everybody knows that the other is there."""
LONGEST: Final = 600.0
"""Seconds of one stream; the browser opens the next by itself, and its session is checked again."""


async def cluster(request: PageRequest) -> Response:
    """GET /live/{cluster}: changes of one cluster and its ELB."""
    return _stream([request.part("cluster")], request)


async def everything(request: PageRequest) -> Response:
    """GET /live: changes of all."""
    return _stream([c.name for c in request.console.fleet.clusters], request)


def _stream(names: list[str], request: PageRequest) -> Response:
    return StreamingResponse(_events(names, request), media_type="text/event-stream")


async def _events(names: list[str], request: PageRequest) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    loop = asyncio.get_running_loop()
    end = loop.time() + LONGEST
    sources = _sources(names, request)
    seen = [source.sequence for source in sources]
    while loop.time() < end and request.console.sessions.find(request.session.id) is not None:
        if await _changed(sources, seen):
            await asyncio.sleep(BREATH)
            seen = [source.sequence for source in sources]
            yield "event: changed\ndata:\n\n"
        else:
            yield ": still here\n\n"


def _sources(names: list[str], request: PageRequest) -> list[Latest[int]]:
    found = [request.console.rotations.changed, request.console.feeds.probes.changed]
    for name in names:
        try:
            cluster = request.context_of(request.cluster(name))
        except (LoginRequired, PageError):
            if len(names) == 1:
                raise
            continue
        found += [cluster.kube.changed, cluster.elb.changed]
    return found


async def _changed(sources: list[Latest[int]], seen: list[int]) -> bool:
    """Whether one changed before it was time for a heartbeat."""
    waiting = [
        asyncio.ensure_future(source.after(sequence)) for source, sequence in zip(sources, seen, strict=True)
    ]
    try:
        done, _ = await asyncio.wait(waiting, timeout=BEAT, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for future in waiting:
            future.cancel()


PAGES: Final[tuple[Page, ...]] = (Page("/live", everything), Page("/live/{cluster}", cluster))
