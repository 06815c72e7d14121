"""Events about drift, with the user who caused it if the ELB's audit log records one.

Drift that is left alone is reported as long as it lasts. Reverted and adopted drift is reported once.
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
"""How far back the audit log is searched for the author of a change."""
OWN_ROLE: Final = "controller"
MOST: Final = 1000
"""Most changes that are remembered from the event stream."""


class DriftNotices(NamedTuple):
    """The Events to report as long as they hold, and those to report once."""

    standing: list[EventMessage]
    once: list[EventMessage]


class DriftReporter:
    """Remembers the authors of changes, and what was reported."""

    def __init__(self, elb: ElbClient) -> None:
        self._elb = elb
        self._authors: dict[str, Record] = {}
        self._sentences: dict[Drift, str] = {}
        self._reported: frozenset[Drift] = frozenset()

    def record_change(self, record: Record) -> None:
        """Remember the author of a change, except the controller itself: by user, or by role if it has an access key."""
        if record.role == OWN_ROLE or record.user == self._elb.user:
            return
        self._authors.pop(record.resource_id, None)
        self._authors[record.resource_id] = record
        while len(self._authors) > MOST:
            del self._authors[next(iter(self._authors))]

    async def news(
        self, drifts: Iterable[Drift], translation: Translation, adopted: Mapping[Drift, str]
    ) -> DriftNotices:
        """Return the Events for `drifts`. `adopted`: the text of what an Ingress states now, by drift."""
        present = tuple(drifts)
        await self._learn([d for d in present if d not in self._sentences or d in adopted])
        self._sentences = {d: self._described(d, adopted) for d in present}
        for ref in (ref for d in present for ref in (d.id, *d.parts)):
            self._authors.pop(ref, None)  # the next change may have another author
        notices = DriftNotices(standing=[], once=[])
        for drift in present:
            if drift in adopted or (drift.mode == "repair" and drift not in self._reported):
                notices.once.extend(self._notices(drift, translation))
            elif drift.mode != "repair":
                notices.standing.extend(self._notices(drift, translation))
        self._reported = frozenset(present)
        return notices

    def _described(self, drift: Drift, adopted: Mapping[Drift, str]) -> str:
        """Return the sentence about a drift; it keeps the author of the change until it is adopted."""
        if drift not in adopted and (sentence := self._sentences.get(drift)):
            return sentence
        return _sentence(drift, self._author(drift), adopted.get(drift))

    def _notices(self, drift: Drift, translation: Translation) -> list[EventMessage]:
        kind: Literal["Normal", "Warning"] = "Normal" if drift.mode == "adopt" else "Warning"
        sentence = self._sentences[drift]
        return [
            EventMessage(object=ref, type=kind, reason="DriftDetected", sentence=sentence)
            for ref in concerned(drift, translation)
        ]

    def _author(self, drift: Drift) -> Record | None:
        """Return the newest change of the object or its parts; None if unknown."""
        records = [r for ref in (drift.id, *drift.parts) if (r := self._authors.get(ref))]
        return max(records, key=lambda r: r.sequence, default=None)

    async def _learn(self, drifts: list[Drift]) -> None:
        """Read the authors that the event stream did not deliver from the audit log, for example after a restart."""
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
            return  # reported without an author


def concerned(drift: Drift, translation: Translation) -> tuple[ObjectRef, ...]:
    """Return the objects that a drift concerns.

    For a certificate, its Secret and the Ingresses that use it; else the listener owner.
    """
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
    text = f"{drift.seen} It is accepted: {adopted}" if adopted else drift.sentence
    if record is None:
        return text
    why = f", “{record.reason}”" if record.reason else ""
    return f"{text} It was {record.user} at {record.at:%Y-%m-%d %H:%M:%S} UTC (request {record.request_id}{why})."
