"""The event stream: every change, as a record of the audit log, as it happens (server-sent events).

Each reader reads the log at its own pace, so that a slow one costs no memory and misses nothing; it
resumes with the sequence that it saw last. The store's commits wake it up, and it reads the newest records
from the store's memory where those are all that it has not seen.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

import msgspec
from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from certferry.elb.server.actor import Actor
from certferry.elb.server.api.dependencies import ApiDependencies, Endpoint
from certferry.elb.server.api.extensions.audit import shown
from certferry.elb.server.api.responses import failure, read_request
from certferry.elb.server.errors import ApiError, bad_request, forbidden
from certferry.elb.server.identity.auth import authenticated
from certferry.elb.server.identity.request_signature import Presented
from certferry.elb.server.store.audit import Search

HEARTBEAT: Final = 15.0
"""Seconds of silence until a comment shows that the connection lives."""
ENDED: Final = -1
"""The value of ``ApiDependencies.changes`` when the service ends."""
TOGETHER: Final = 0.02
"""Seconds that a reader waits after a change: many changes are then one look into the log, and the
data plane comes first."""
_PAGE: Final = 200


def endpoint(elb: ApiDependencies) -> Endpoint:
    """Make the endpoint of GET events?since=<sequence>; without `since` it begins with the next change."""

    async def answer(request: Request) -> Response:
        try:
            presented = await read_request(request)
            actor, begin = await run_in_threadpool(_admitted, elb, request, presented)
        except ApiError as refused:
            return failure(refused, secrets.token_hex(16))
        return StreamingResponse(
            _stream(elb, actor, begin),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return answer


def _admitted(elb: ApiDependencies, request: Request, presented: Presented) -> tuple[Actor, int]:
    actor = authenticated(elb.identity, presented, datetime.now(UTC))
    if request.path_params["project_id"] != actor.project_id:
        raise forbidden("This project is not the one you are logged in to")
    # Browsers resume by this header.
    text = request.headers.get("last-event-id") or request.query_params.get("since")
    if not text:
        return actor, elb.store.newest_event()
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise bad_request("since is the sequence of a record")
    return actor, int(text)


async def _stream(elb: ApiDependencies, actor: Actor, at: int) -> AsyncIterator[bytes]:
    seen = elb.changes.sequence
    newest = await run_in_threadpool(elb.store.newest_event)
    oldest = await run_in_threadpool(elb.store.oldest_event)
    if at > newest or 0 < at < oldest - 1:
        # A backup was restored, so that the reader's last record never happened here; or its successors were pruned.
        at = newest
        yield b"event: gap\ndata: " + msgspec.json.encode({"sequence": newest}) + b"\n\n"
    yield b": connected\n\n"
    woken = False
    while elb.changes.value != ENDED:
        records = elb.store.tail.after(actor.project_id, at) if woken else None
        if records is None:
            search = Search(project_id=actor.project_id, after=at, limit=_PAGE)
            records = await run_in_threadpool(elb.store.audited, search)
        for record in records:
            at = record.sequence
            data = msgspec.json.encode(shown(record))
            yield b"id: %d\nevent: change\ndata: %b\n\n" % (at, data)
        if len(records) == _PAGE:
            continue
        try:
            async with asyncio.timeout(HEARTBEAT):
                await elb.changes.after(seen)
            await asyncio.sleep(TOGETHER)
            seen, woken = elb.changes.sequence, True
        except TimeoutError:
            woken = False  # another program may have written
            if not await run_in_threadpool(elb.identity.still, actor):
                return
            yield b": heartbeat\n\n"
