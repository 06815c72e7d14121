"""Changes that others make on the ELB, heard as they happen where the ELB tells them.

The loop runs ``follow`` and looks at the ELB again when it is called. Our own ELB has an event stream; a
vendor's has none, and there the poll (`resync`) is all there is. It judges nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from certferry.elb.client import extensions
from certferry.elb.client.client import ElbClient, ElbError
from certferry.elb.client.extensions import Gap, Record
from certferry.runtime.backoff import Backoff

AGAIN: Final = (0.2, 5.0)
"""Seconds until the stream is asked for again: the first, the longest."""

_log = structlog.get_logger()

OnChange = Callable[[Record | None], None]


async def follow_elb_events(elb: ElbClient, heard: OnChange) -> None:
    """Call `heard` for each change; with None when some may have been missed. Returns where there is no stream."""
    since: int | None = None
    backoff = Backoff(*AGAIN)
    while True:
        try:
            if since is None and "events" not in await extensions.available(elb):
                _log.info("the load balancer tells no changes; it is polled")
                return
            async for record in extensions.events(elb, since):
                if record is not None:
                    since = record.sequence
                    backoff.reset()
                heard(record)
        except Gap as gap:
            since = gap.sequence
            heard(None)
        except ElbError as error:
            if error.status in (403, 404):
                return
            _log.debug("event stream ended", why=str(error))
        await backoff.wait()
