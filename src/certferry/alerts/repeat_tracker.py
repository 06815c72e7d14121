"""Decision which alerts to post: each one when it begins, at intervals, and when it ends. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from certferry.core.diagnosis.alert import HOURLY, Alert

Status = Literal["firing", "resolved"]
Identity = tuple[str, str, str]
_HOUR = timedelta(hours=1)


class AlertNotification(msgspec.Struct, frozen=True, kw_only=True):
    """One alert to post."""

    status: Status
    alert: Alert
    since: datetime


class RepeatTracker:
    """Remembers the delivered notifications. A firing alert is due again after `repeat`."""

    def __init__(self, repeat: timedelta) -> None:
        self._repeat = repeat
        self._begun: dict[Identity, datetime] = {}
        self._delivered: dict[Identity, tuple[Alert, datetime]] = {}

    def due(self, standing: Iterable[Alert], now: datetime) -> tuple[AlertNotification, ...]:
        """Return the notifications to post now: alerts that began, changed, are due again, or ended."""
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
            for identity, (alert, _) in sorted(self._delivered.items())
            if identity not in current
        ]
        self._begun = {i: at for i, at in self._begun.items() if i in current or i in self._delivered}
        return (*firing, *ended)

    def delivered(self, notifications: Iterable[AlertNotification], now: datetime) -> None:
        """Remember that `notifications` were delivered at `now`."""
        for notification in notifications:
            identity = notification.alert.identity
            if notification.status == "firing":
                self._delivered[identity] = (notification.alert, now)
            else:
                self._delivered.pop(identity, None)
                self._begun.pop(identity, None)

    def next_repeat(self, now: datetime) -> datetime:
        """Return the next instant at which a notification is due although no alert changes."""
        return min((at + self._interval(alert) for alert, at in self._delivered.values()), default=now + self._repeat)

    def _interval(self, alert: Alert) -> timedelta:
        return min(self._repeat, _HOUR) if alert.name in HOURLY else self._repeat

    def _is_news(self, identity: Identity, alert: Alert, now: datetime) -> bool:
        last = self._delivered.get(identity)
        return last is None or last[0] != alert or now - last[1] >= self._interval(alert)
