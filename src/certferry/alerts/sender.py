"""Delivering what stands, until the receiver has taken it.

Runs beside the controller. A receiver that is away is tried again, less and less often, with what
stands by then: nothing that ended is lost, and nothing is told that is over before it was told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from certferry.alerts.repeat_tracker import RepeatTracker
from certferry.alerts.webhook import Webhook, WebhookError
from certferry.core.diagnosis.alert import Alert
from certferry.runtime.backoff import Backoff
from certferry.runtime.latest import Latest
from certferry.settings import AlertSettings

FIRST: Final = 1.0
LONGEST: Final = 60.0

_log = structlog.get_logger()


async def run(
    standing: Latest[tuple[Alert, ...]], settings: AlertSettings, count: Callable[[str], None]
) -> None:
    """Until cancelled; returns at once where no webhook is set. `count` is told taken or failed."""
    if not settings.webhook:
        return
    webhook, ledger = Webhook(settings), RepeatTracker(timedelta(seconds=settings.repeat_interval))
    backoff = Backoff(FIRST, LONGEST)
    while True:
        sequence, alerts = standing.sequence, standing.value
        tellings = ledger.due(alerts, datetime.now(UTC))
        if tellings:
            try:
                await webhook.post(tellings)
            except WebhookError as error:
                count("failed")
                _log.warning("alerts not delivered, trying on", why=str(error), alerts=len(tellings))
                await backoff.wait()
                continue
            count("taken")
            backoff.reset()
            ledger.taken(tellings, datetime.now(UTC))
        wait = (ledger.next(datetime.now(UTC)) - datetime.now(UTC)).total_seconds()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(wait, 0.01)):
                await standing.after(sequence)
