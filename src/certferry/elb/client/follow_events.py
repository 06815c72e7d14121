"""Follow an ELB's event stream across disconnections; an ELB of a vendor has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from certferry.elb.client import extensions
from certferry.elb.client.client import ElbClient, ElbError
from certferry.elb.client.extensions import Gap, Record
from certferry.runtime.backoff import Backoff

DELAYS: Final = (0.2, 5.0)
"""Seconds until the next attempt to connect: the first, the longest."""

_log = structlog.get_logger()


async def follow_events(elb: ElbClient, changed: Callable[[Record | None], object]) -> None:
    """Call `changed` with each change, and with None if changes may have been missed.

    Return if the ELB has no event stream.
    """
    since: int | None = None
    backoff = Backoff(*DELAYS)
    while True:
        try:
            if since is None and "events" not in await extensions.available(elb):
                _log.info("the load balancer has no event stream; it is polled")
                return
            async for record in extensions.events(elb, since):
                if record is not None:
                    since = record.sequence
                    backoff.reset()
                changed(record)
        except Gap as gap:
            since = gap.sequence
            changed(None)
        except ElbError as error:
            if error.status in (403, 404):
                return
            _log.debug("event stream ended", why=str(error))
        await backoff.wait()
