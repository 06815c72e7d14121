"""A watch: what is there, then what happens, as a stream of events.

`api` starts one per request; each piece it yields is one event, and `http` sends each as one chunk:
clients that split lines slowly (the official Python one) depend on that. A watch holds a position in
the history and no queue. The ends of a watch are its time, 410 Gone, and the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime

import msgspec

from certferry.kube.apiserver.errors import ApiStatus
from certferry.kube.apiserver.http import negotiation as tables
from certferry.kube.apiserver.http.negotiation import ResponseFormat
from certferry.kube.apiserver.resources.builtin import ResourceDefinition
from certferry.kube.apiserver.storage.log import Change, Stored
from certferry.kube.apiserver.storage.selectors import Selection
from certferry.kube.apiserver.storage.watch_cache import WatchCache

_BOOKMARK_EVERY = 30.0
_INITIAL_END = {"k8s.io/initial-events-end": "true"}


class Watch(msgspec.Struct, frozen=True):
    """What a client asked to watch."""

    kind: ResourceDefinition
    namespace: str
    wanted: Selection
    view: ResponseFormat
    since: int | None
    """The revision to go on from; None for: begin with what is there."""
    seconds: float
    bookmarks: bool = False
    initial_end: bool = False
    """Whether to say where the initial events end."""


async def events(registry: WatchCache, watch: Watch, clock: Callable[[], datetime]) -> AsyncIterator[bytes]:
    """The events of `watch`, each a line of JSON."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + watch.seconds
    position, first = watch.since, True
    # Before reading what is there: what happens from here on wakes us.
    latest = registry.moved[watch.kind.plural]
    sequence = latest.sequence
    if position is None:
        position = registry.revision
        for stored in registry.select(watch.kind, watch.namespace, watch.wanted):
            yield _event("ADDED", tables.event(watch.view, watch.kind, stored.body, clock(), first=first))
            first = False
        if watch.initial_end:
            yield _event("BOOKMARK", tables.bookmark(watch.view, watch.kind, position, _INITIAL_END))
    told = loop.time()
    while True:
        try:
            changes = await registry.after(watch.kind, position)
        except ApiStatus as gone:
            yield _event("ERROR", msgspec.json.encode(gone.body()))
            return
        for change in changes:
            position = change.stored.revision
            verb = _seen(change, watch)
            if verb:
                yield _event(
                    verb, tables.event(watch.view, watch.kind, change.stored.body, clock(), first=first)
                )
                first = False
        if changes:
            continue
        now = loop.time()
        if now >= deadline:
            return
        if watch.bookmarks and now - told >= _BOOKMARK_EVERY:
            told = now
            # Nothing of this kind happened up to here: the client need not ask for it again.
            position = max(position, registry.revision)
            yield _event("BOOKMARK", tables.bookmark(watch.view, watch.kind, position, {}))
        if latest.sequence == sequence:
            pause = min(deadline - now, _BOOKMARK_EVERY)
            try:
                async with asyncio.timeout(pause):
                    await latest.after(sequence)
            except TimeoutError:
                continue
        sequence = latest.sequence


def _seen(change: Change, watch: Watch) -> str:
    """What `change` is to a client that sees only what it selected; empty for nothing."""
    if watch.namespace and change.stored.namespace != watch.namespace:
        return ""
    before = change.before is not None and watch.wanted.takes(change.before.labels, change.before.fields)
    after = change.verb != "DELETED" and _takes(watch.wanted, change.stored)
    match before, after:
        case True, True:
            return "MODIFIED"
        case False, True:
            return "ADDED"
        case True, False:
            return "DELETED"
        case _:
            return ""


def _takes(wanted: Selection, stored: Stored) -> bool:
    return wanted.takes(stored.facts.labels, stored.facts.fields)


def _event(verb: str, body: bytes) -> bytes:
    return b'{"type":"' + verb.encode() + b'","object":' + body + b"}\n"
