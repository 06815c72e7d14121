"""The two forms in which alerts are posted: our own, and Alertmanager's (API v2).

``webhook`` chooses by its settings. Source of the second: Prometheus Alertmanager, `POST /api/v2/alerts`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from certferry.alerts.repeat_tracker import AlertNotification
from certferry.core.diagnosis.alert import Alert, runbook

OUTLIVES: Final = 3
"""An alert in Alertmanager ends by itself after so many times the interval in which it is told again."""

Form = Callable[[Sequence[AlertNotification], str, datetime, timedelta], bytes]


def certferry(tellings: Sequence[AlertNotification], docs: str, now: datetime, _repeat: timedelta) -> bytes:
    """Our own: one object with all that is known of each alert."""
    body = {
        "version": 1,
        "sent": _instant(now),
        "alerts": [
            {"status": t.status, "since": _instant(t.since), **_facts(t.alert, docs)} for t in tellings
        ],
    }
    return msgspec.json.encode(body)


def alertmanager(tellings: Sequence[AlertNotification], docs: str, now: datetime, repeat: timedelta) -> bytes:
    """A list of alerts; an ended one has its end in the past."""
    return msgspec.json.encode([_alertmanager(t, docs, now, repeat) for t in tellings])


FORMS: Final[dict[str, Form]] = {"certferry": certferry, "alertmanager": alertmanager}


def _alertmanager(telling: AlertNotification, docs: str, now: datetime, repeat: timedelta) -> dict[str, Any]:
    facts = _facts(telling.alert, docs)
    ends = now if telling.status == "resolved" else now + OUTLIVES * repeat
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
        "startsAt": _instant(telling.since),
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
