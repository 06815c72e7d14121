"""Drift, told to those whom it concerns, with who did it where the ELB's audit log knows.

Called after each decision. What is left as it is stands as long as it is so; what is put right, or what
the Ingress says from now on, is told once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

from certferry.controller.report.event_recorder import EventMessage
from certferry.core.drift.drift import Drift
from certferry.core.model.kubernetes import ObjectRef
from certferry.core.translate.translate import Translation
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbClient, ElbError
from certferry.elb.client.extensions import Record

LOOK_BACK: Final = timedelta(days=7)
"""How far the audit log is read for who did it."""
OWN_ROLE: Final = "controller"
MOST: Final = 1000
"""Changes that are remembered from the event stream."""


class DriftNotices(NamedTuple):
    """What is to be told: as long as it is so, and once."""

    standing: list[EventMessage]
    once: list[EventMessage]


class DriftReporter:
    """Remembers who changed what, and what was told."""

    def __init__(self, elb: ElbClient) -> None:
        self._elb = elb
        self._authors: dict[str, Record] = {}
        self._sentences: dict[Drift, str] = {}
        self._told: frozenset[Drift] = frozenset()

    def record_change(self, record: Record) -> None:
        """Somebody changed something. An access key does not say which user we are, but our role does."""
        if record.role == OWN_ROLE or record.user == self._elb.user:
            return
        self._authors.pop(record.resource_id, None)
        self._authors[record.resource_id] = record
        while len(self._authors) > MOST:
            del self._authors[next(iter(self._authors))]

    async def news(
        self, drifts: Iterable[Drift], translation: Translation, adopted: Mapping[Drift, str]
    ) -> DriftNotices:
        """What is to be told of `drifts`; `adopted`: what an Ingress says now instead."""
        found = tuple(drifts)
        await self._learn([d for d in found if d not in self._sentences or d in adopted])
        self._sentences = {
            d: (d not in adopted and self._sentences.get(d)) or _sentence(d, self._author(d), adopted.get(d))
            for d in found
        }
        for ref in (ref for d in found for ref in (d.id, *d.parts)):
            self._authors.pop(ref, None)  # whoever is next may be somebody else
        left = [d for d in found if d.mode != "repair" and d not in adopted]
        fresh = [d for d in found if d in adopted or (d.mode == "repair" and d not in self._told)]
        self._told = frozenset(found)
        return DriftNotices(
            standing=[n for d in left for n in self._notices(d, translation)],
            once=[n for d in fresh for n in self._notices(d, translation)],
        )

    def _notices(self, drift: Drift, translation: Translation) -> list[EventMessage]:
        kind: Literal["Normal", "Warning"] = "Normal" if drift.mode == "adopt" else "Warning"
        sentence = self._sentences[drift]
        return [
            EventMessage(object=ref, type=kind, reason="DriftDetected", sentence=sentence)
            for ref in concerned(drift, translation)
        ]

    def _author(self, drift: Drift) -> Record | None:
        """The newest change of it or of its parts."""
        found = [r for ref in (drift.id, *drift.parts) if (r := self._authors.get(ref))]
        return max(found, key=lambda r: r.sequence, default=None)

    async def _learn(self, drifts: list[Drift]) -> None:
        """Ask the audit log about what the event stream did not tell of (we were away)."""
        unknown = {ref for d in drifts if not self._author(d) for ref in (d.id, *d.parts)}
        if not unknown:
            return
        try:
            if "audit" not in await extensions.available(self._elb):
                return
            async for record in extensions.audit(self._elb, since=datetime.now(UTC) - LOOK_BACK):
                if record.resource_id in unknown:
                    self.record_change(record)
        except ElbError:
            return  # told without a name


def concerned(drift: Drift, translation: Translation) -> tuple[ObjectRef, ...]:
    """A certificate: its Secret and the Ingresses that use it; else the Ingress that governs the listener."""
    uid = drift.key.removeprefix("@certificate/")
    if uid in translation.secret_uses:
        follow = translation.secret_uses[uid]
        secret = ObjectRef(kind="Secret", namespace=follow.secret.namespace, name=follow.secret.name, uid=uid)
        return (secret, *follow.users)
    masters: Mapping[str, ObjectRef] = {
        f"@listener/{status.loadbalancer}/{port}": translation.status[status.listener_owner].ref
        for status in translation.status.values()
        for port, _ in status.ports
        if status.listener_owner in translation.status
    }
    # the keys of pools and policies have that of their listener in them
    parts = drift.key.split("/")
    at = parts.index("@listener") if "@listener" in parts else -1
    master = masters.get("/".join(parts[at : at + 3])) if at >= 0 else None
    return (master,) if master else ()


def _sentence(drift: Drift, record: Record | None, adopted: str | None) -> str:
    said = f"{drift.seen} It is accepted: {adopted}" if adopted else drift.sentence
    if record is None:
        return said
    why = f", “{record.reason}”" if record.reason else ""
    return f"{said} It was {record.user} at {record.at:%Y-%m-%d %H:%M:%S} UTC (request {record.request_id}{why})."
