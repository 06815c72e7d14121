"""The timeline of an object: audit records of its certificates, and the instants of the last rotations. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from certferry.core.model.kubernetes import Name
from certferry.elb.client.extensions import Record

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "create": ("Created", "good"),
    "update": ("Changed", "busy"),
    "delete": ("Deleted", "warn"),
    "rollback": ("Rolled back", "warn"),
    "break-glass": ("Break-glass opened", "bad"),
    "break-glass-end": ("Break-glass ended", "good"),
    "rollback-pause": ("Paused after a rollback", "warn"),
    "rollback-pause-end": ("Pause ended", "good"),
    "release": ("Released by its owner", "idle"),
}
"""Words and levels of the verbs in the audit log."""


class RotationRecord(msgspec.Struct, frozen=True):
    """The annotation ``certferry.io/rotation`` of an Ingress."""

    fingerprint: str
    changed: datetime
    accepted: datetime | None = None
    served: datetime | None = None

    @property
    def duration(self) -> timedelta | None:
        """Time from the change to the first handshake that showed it; None if it was not served."""
        return self.served - self.changed if self.served else None


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened."""

    at: datetime
    word: str
    level: str
    what: str
    """The object, in words."""
    by: str
    """User and role; "" if it has no actor."""
    fingerprint: str = ""
    previous: str = ""
    reason: str = ""


def read_rotation(annotation: str | None) -> RotationRecord | None:
    """Parse the annotation; None if it is absent or cannot be read."""
    try:
        return msgspec.json.decode(annotation, type=RotationRecord) if annotation else None
    except msgspec.DecodeError:
        return None


def timeline(records: Iterable[Record], rotations: Mapping[Name, RotationRecord]) -> list[TimelineEntry]:
    """Return all entries, the latest first."""
    entries = [*map(_of_record, records), *(_of_rotation(name, r) for name, r in rotations.items() if r.served)]
    return sorted(entries, key=lambda entry: entry.at, reverse=True)


def _of_record(record: Record) -> TimelineEntry:
    word, level = _WORDS.get(record.verb, (record.verb.capitalize(), "idle"))
    if record.verb == "update" and record.fingerprint and record.fingerprint != record.previous_fingerprint:
        word = "New content accepted"
    return TimelineEntry(
        at=record.at,
        word=word,
        level=level,
        what=f"{record.kind} {record.name or record.resource_id}",
        by=f"{record.user} ({record.role})",
        fingerprint=record.fingerprint or "",
        previous=(record.previous_fingerprint or "") if record.previous_fingerprint != record.fingerprint else "",
        reason=record.reason or "",
    )


def _of_rotation(name: Name, rotation: RotationRecord) -> TimelineEntry:
    took = f"{rotation.duration.total_seconds():.2f} s after the change" if rotation.duration else ""
    return TimelineEntry(
        at=rotation.served or rotation.changed,
        word="Served",
        level="good",
        what=f"Ingress {name}",
        by="",
        fingerprint=rotation.fingerprint,
        reason=took,
    )
