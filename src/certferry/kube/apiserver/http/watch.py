"""Watches: the present objects, then their changes, as a stream of events.

Each yielded part is one event and becomes one HTTP chunk; the official Python client depends on that for speed.
A watch holds a position in the history and no queue. It ends by its timeout, 410 Gone, or the client.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime

import msgspec

from certferry.kube.apiserver.errors import ApiStatus
from certferry.kube.apiserver.http import negotiation
from certferry.kube.apiserver.http.negotiation import ResponseFormat
from certferry.kube.apiserver.resources.builtin import ResourceDefinition
from certferry.kube.apiserver.storage.log import Change, Stored
from certferry.kube.apiserver.storage.selectors import Selection
from certferry.kube.apiserver.storage.watch_cache import WatchCache

_BOOKMARK_EVERY = 30.0
_INITIAL_END = {"k8s.io/initial-events-end": "true"}


class Watch(msgspec.Struct, frozen=True):
    """The parameters of a watch."""

    kind: ResourceDefinition
    namespace: str
    selection: Selection
    response_format: ResponseFormat
    since: int | None
    """Revision after which to resume; None begins with the present objects."""
    seconds: float
    bookmarks: bool = False
    initial_end: bool = False
    """True if a bookmark marks the end of the initial events."""


async def events(cache: WatchCache, watch: Watch, clock: Callable[[], datetime]) -> AsyncIterator[bytes]:
    """Yield the events of `watch`, each a line of JSON."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + watch.seconds
    position, first = watch.since, True
    # Taken before the objects are read, so that a later change wakes this watch.
    latest = cache.changed[watch.kind.plural]
    sequence = latest.sequence
    if position is None:
        position = cache.revision
        for stored in cache.select(watch.kind, watch.namespace, watch.selection):
            yield _event(
                "ADDED",
                negotiation.encode_event_object(watch.response_format, watch.kind, stored.body, clock(), first=first),
            )
            first = False
        if watch.initial_end:
            yield _event(
                "BOOKMARK", negotiation.encode_bookmark(watch.response_format, watch.kind, position, _INITIAL_END)
            )
    last_bookmark = loop.time()
    while True:
        try:
            changes = await cache.after(watch.kind, position)
        except ApiStatus as gone:
            yield _event("ERROR", msgspec.json.encode(gone.body()))
            return
        for change in changes:
            position = change.stored.revision
            verb = _event_type(change, watch)
            if verb:
                yield _event(
                    verb,
                    negotiation.encode_event_object(
                        watch.response_format, watch.kind, change.stored.body, clock(), first=first
                    ),
                )
                first = False
        if changes:
            continue
        now = loop.time()
        if now >= deadline:
            return
        if watch.bookmarks and now - last_bookmark >= _BOOKMARK_EVERY:
            last_bookmark = now
            # No change of this kind up to here: the client may resume from this revision.
            position = max(position, cache.revision)
            yield _event("BOOKMARK", negotiation.encode_bookmark(watch.response_format, watch.kind, position, {}))
        if latest.sequence == sequence:
            pause = min(deadline - now, _BOOKMARK_EVERY)
            try:
                async with asyncio.timeout(pause):
                    await latest.after(sequence)
            except TimeoutError:
                continue
        sequence = latest.sequence


def _event_type(change: Change, watch: Watch) -> str:
    """Return the event's type for a client that sees only its selection; empty if it sees no change."""
    if watch.namespace and change.stored.namespace != watch.namespace:
        return ""
    before = change.before is not None and watch.selection.matches(change.before.labels, change.before.fields)
    after = change.verb != "DELETED" and _matches(watch.selection, change.stored)
    match before, after:
        case True, True:
            return "MODIFIED"
        case False, True:
            return "ADDED"
        case True, False:
            return "DELETED"
        case _:
            return ""


def _matches(selection: Selection, stored: Stored) -> bool:
    return selection.matches(stored.indexed.labels, stored.indexed.fields)


def _event(verb: str, body: bytes) -> bytes:
    return b'{"type":"' + verb.encode() + b'","object":' + body + b"}\n"
