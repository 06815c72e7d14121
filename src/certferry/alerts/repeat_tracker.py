"""What has been told, and so what is to be told now: each alert when it begins, at times, and when it ends.

``deliver`` asks it before each post and tells it what was taken. Pure: the clock is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from certferry.core.diagnosis.alert import Alert

Status = Literal["firing", "resolved"]
Identity = tuple[str, str, str]


class AlertNotification(msgspec.Struct, frozen=True, kw_only=True):
    """One alert to be told."""

    status: Status
    alert: Alert
    since: datetime


class RepeatTracker:
    """`repeat`: how long until an alert that stands is told again."""

    def __init__(self, repeat: timedelta) -> None:
        self._repeat = repeat
        self._begun: dict[Identity, datetime] = {}
        self._told: dict[Identity, tuple[Alert, datetime]] = {}

    def due(self, standing: Iterable[Alert], now: datetime) -> tuple[AlertNotification, ...]:
        """What is to be told now, given what stands: begun, changed or due again; and what ended."""
        current = {a.identity: a for a in standing}
        for identity in current:
            self._begun.setdefault(identity, now)
        firing = [
            AlertNotification(status="firing", alert=alert, since=self._begun[identity])
            for identity, alert in sorted(current.items())
            if self._is_news(identity, alert, now)
        ]
        ended = [
            AlertNotification(status="resolved", alert=alert, since=self._begun[identity])
            for identity, (alert, _) in sorted(self._told.items())
            if identity not in current
        ]
        self._begun = {i: at for i, at in self._begun.items() if i in current or i in self._told}
        return (*firing, *ended)

    def taken(self, tellings: Iterable[AlertNotification], now: datetime) -> None:
        """They were delivered at `now`."""
        for telling in tellings:
            identity = telling.alert.identity
            if telling.status == "firing":
                self._told[identity] = (telling.alert, now)
            else:
                self._told.pop(identity, None)
                self._begun.pop(identity, None)

    def next(self, now: datetime) -> datetime:
        """When to look again though nothing changes."""
        return min((at + self._repeat for _, at in self._told.values()), default=now + self._repeat)

    def _is_news(self, identity: Identity, alert: Alert, now: datetime) -> bool:
        told = self._told.get(identity)
        return told is None or told[0] != alert or now - told[1] >= self._repeat
