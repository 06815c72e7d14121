"""The two formats of a post: Certferry's own, and that of Prometheus Alertmanager (`POST /api/v2/alerts`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from certferry.alerts.repeat_tracker import AlertNotification
from certferry.core.diagnosis.alert import Alert, runbook

LIFETIME_INTERVALS: Final = 3
"""Alertmanager ends an alert after this many repeat intervals without a new post."""

Format = Callable[[Sequence[AlertNotification], str, datetime, timedelta], bytes]


def certferry(notifications: Sequence[AlertNotification], docs: str, now: datetime, _repeat: timedelta) -> bytes:
    """Return one JSON object with all fields of each alert."""
    body = {
        "version": 1,
        "sent": _instant(now),
        "alerts": [{"status": n.status, "since": _instant(n.since), **_facts(n.alert, docs)} for n in notifications],
    }
    return msgspec.json.encode(body)


def alertmanager(notifications: Sequence[AlertNotification], docs: str, now: datetime, repeat: timedelta) -> bytes:
    """Return a JSON list of alerts; a resolved one has `endsAt` in the past."""
    return msgspec.json.encode([_alertmanager(n, docs, now, repeat) for n in notifications])


FORMATS: Final[dict[str, Format]] = {"certferry": certferry, "alertmanager": alertmanager}


def _alertmanager(notification: AlertNotification, docs: str, now: datetime, repeat: timedelta) -> dict[str, Any]:
    facts = _facts(notification.alert, docs)
    ends = now if notification.status == "resolved" else now + LIFETIME_INTERVALS * repeat
    return {
        "labels": {
            "alertname": facts["name"],
            "severity": facts["urgency"],
            "cluster": facts["cluster"],
            "subject": facts["subject"],
            "owner": facts["owner"],
        },
        "annotations": {
            "summary": facts["summary"],
            "description": facts["why"],
            "hosts": ", ".join(facts["hosts"]),
            "source": facts["source"],
            "command": facts["command"],
            "runbook_url": facts["runbook"],
        },
        "startsAt": _instant(notification.since),
        "endsAt": _instant(ends),
    }


def _facts(alert: Alert, docs: str) -> dict[str, Any]:
    return {
        "name": alert.name,
        "urgency": alert.urgency,
        "cluster": alert.cluster,
        "subject": alert.subject,
        "summary": alert.summary,
        "hosts": list(alert.hosts),
        "owner": alert.owner,
        "source": alert.source,
        "why": alert.why,
        "command": alert.command,
        "runbook": f"{docs.rstrip('/')}/{runbook(alert.name)}",
    }


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
