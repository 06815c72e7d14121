"""The loop that posts alerts until the receiver accepts them, with back-off.

Each attempt sends the alerts that fire at that moment. No end of a delivered alert is lost; an alert that ended
before its delivery is never posted.
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


async def run(standing: Latest[tuple[Alert, ...]], settings: AlertSettings, count: Callable[[str], None]) -> None:
    """Post the alerts of `standing` until cancelled; return at once if no webhook is set.

    `count` is called with `delivered` or `failed` after each post.
    """
    if not settings.webhook:
        return
    webhook, tracker = Webhook(settings), RepeatTracker(timedelta(seconds=settings.repeat_interval))
    backoff = Backoff(FIRST, LONGEST)
    while True:
        sequence, alerts = standing.sequence, standing.value
        notifications = tracker.due(alerts, datetime.now(UTC))
        if notifications:
            try:
                await webhook.post(notifications)
            except WebhookError as error:
                count("failed")
                _log.warning("alerts not delivered, will retry", why=str(error), alerts=len(notifications))
                await backoff.wait()
                continue
            count("delivered")
            backoff.reset()
            tracker.delivered(notifications, datetime.now(UTC))
        wait = (tracker.next_repeat(datetime.now(UTC)) - datetime.now(UTC)).total_seconds()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(wait, 0.01)):
                await standing.after(sequence)
