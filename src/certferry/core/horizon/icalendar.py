"""The projected renewals as an iCalendar file (RFC 5545): whole-day events in UTC.

The few properties need no library, whose import would cost each command its time. A test reads the text with one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import Final

from certferry.core.horizon.projection import Horizon
from certferry.core.horizon.renewal import Renewal

_LINE: Final = 75
"""Octets of a line without its end (3.1)."""
_REMIND: Final = "-P7D"
"""When a person is reminded of a renewal by hand."""


def calendar(horizon: Horizon) -> str:
    """Return a calendar with the next renewal and the end of each certificate, and the rules that come into force."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Certferry//horizon//EN", "METHOD:PUBLISH"]
    for one in horizon.certificates:
        lines += _renewal(one.renewal, horizon.at)
    for effect in horizon.rules:
        rule = effect.rule
        if not effect.in_force:
            summary = f"Certificates of {rule.whose} live {rule.days} days at most"
            text = f"{effect.shorter} of {effect.certificates} certificates get a shorter lifetime. {effect.validation}"
            uid = f"{rule.since:%Y%m%d}-{rule.days}"
            lines += _event(f"rule-{uid}", rule.since.date(), summary, text, horizon.at)
    lines.append("END:VCALENDAR")
    return "".join(f"{part}\r\n" for line in lines for part in _folded(line))


def _renewal(renewal: Renewal, at: datetime) -> Iterator[str]:
    certificate = renewal.certificate
    origin = certificate.origin
    title = str(origin.secret_name) if origin and origin.secret_name else certificate.name
    end = f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"
    text = f"{title} for {', '.join(certificate.hosts or certificate.names)} expires on {end}."
    if renewal.obstacle:
        text += f" A renewal would fail today: {renewal.obstacle.why}. Next: {renewal.obstacle.command}"
    by_hand = renewal.renewer == "hand"
    summary = f"Renew {title}: {renewal.by}"
    yield from _event(f"renewal-{certificate.id}", max(renewal.due, at).date(), summary, text, at, remind=by_hand)
    yield from _event(f"end-{certificate.id}", certificate.not_after.date(), f"{title} expires", text, at)


def _event(uid: str, day: date, summary: str, text: str, at: datetime, *, remind: bool = False) -> Iterable[str]:
    yield "BEGIN:VEVENT"
    yield f"UID:{_escaped(uid)}@certferry"
    yield f"DTSTAMP:{at:%Y%m%dT%H%M%SZ}"
    yield f"DTSTART;VALUE=DATE:{day:%Y%m%d}"
    yield f"DTEND;VALUE=DATE:{_day_after(day):%Y%m%d}"
    yield f"SUMMARY:{_escaped(summary)}"
    yield f"DESCRIPTION:{_escaped(text)}"
    yield "TRANSP:TRANSPARENT"
    if remind:
        yield from ("BEGIN:VALARM", "ACTION:DISPLAY", f"DESCRIPTION:{_escaped(summary)}")
        yield from (f"TRIGGER:{_REMIND}", "END:VALARM")
    yield "END:VEVENT"


def _day_after(day: date) -> date:
    return day + timedelta(days=1) if day < date.max else day


def _escaped(text: str) -> str:
    """Return `text` as a TEXT value (3.3.11); line ends and control characters become spaces."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")


def _folded(line: str) -> Iterator[str]:
    """Yield the physical lines of a logical line, none longer than 75 octets, no character cut (3.1)."""
    part = ""
    for character in line:
        if len((part + character).encode()) > _LINE:
            yield part
            part = " "
        part += character
    yield part
