"""One Envoy's acknowledgements: the status of each slot, and rejections of other resources."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from certferry.elb.server.dataplane.access_log.secret_history import SecretInterval
from certferry.elb.server.dataplane.xds.fallback import Fallbacks, RejectionFile

_UNREAD: Final = 20_000
"""Intervals kept until they are read: more than a renewal of all certificates makes in a second."""


def _now() -> datetime:
    return datetime.now(UTC)


class SlotStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The last status of a slot. Accepted is not yet served: only a handshake proves that."""

    digest: str
    """Of the chain that was sent last (``Chain.digest``)."""
    accepted: str | None = None
    """Of the chain that Envoy accepted last."""
    error: str = ""
    """Why `digest` is not accepted, in Envoy's words or ours."""
    since: datetime | None = None
    """The time of this status; None for a secret that Envoy had before it connected."""


class AckLog:
    """Statuses by slot, and rejections of other resources by (type URL, name)."""

    def __init__(
        self, generation: int = 0, clock: Callable[[], datetime] = _now, fallbacks: Fallbacks | None = None
    ) -> None:
        self.fallbacks = fallbacks or Fallbacks(RejectionFile(), "")
        self._generation = generation
        self._clock = clock
        self._met: dict[str, str] = {}
        self.slots: dict[str, SlotStatus] = {}
        self.changed: set[str] = set()
        """Slots whose status is new since a reader emptied it."""
        self.refusals: dict[tuple[str, str], str] = {}
        self.route_versions: dict[str, str] = {}
        """The version of the route table that Envoy accepted last, by listener id."""
        self._refused: dict[str, tuple[str, int]] = {}
        self._fingerprints: dict[str, tuple[str, str, float]] = {}
        self._intervals: deque[SecretInterval] = deque(maxlen=_UNREAD)

    def retries(self, slot: str, digest: str) -> int:
        """Return a number that differs if Envoy may have rejected this content in `slot` before.

        For a slot that Envoy had from an earlier server, the history is unknown, so the number starts elsewhere.
        """
        first = self._generation if self._met.get(slot, digest) != digest else 0
        return first + self.refusals_of(slot, digest)

    def refusals_of(self, slot: str, digest: str) -> int:
        """Return the known number of rejections of this content in `slot`."""
        refused, times = self._refused.get(slot, ("", 0))
        return times if refused == digest else 0

    def intervals(self) -> Iterator[SecretInterval]:
        """Yield the intervals since the last call."""
        while self._intervals:
            yield self._intervals.popleft()

    def sent(self, slot: str, digest: str, fingerprint: str = "") -> None:
        """`digest` (of the chain whose leaf has `fingerprint`) is on its way to `slot`."""
        self._fingerprints[slot] = (digest, fingerprint, self._clock().timestamp())
        before = self.slots.get(slot)
        accepted = before.accepted if before else None
        error = before.error if before and before.digest == digest else ""
        self._say(slot, digest, accepted, error)

    def reported(self, versions: Mapping[str, str]) -> None:
        """Record the versions that Envoy reports on its first request."""
        self._met.update(versions)
        for slot, digest in versions.items():
            self.slots.setdefault(slot, SlotStatus(digest=digest, accepted=digest))
            self.changed.add(slot)

    def already_has(self, slot: str, fingerprint: str) -> None:
        """Record a certificate that Envoy had before it connected."""
        self._intervals.append(SecretInterval(slot, fingerprint, 0.0, 0.0))

    def accepted(self, slot: str, digest: str) -> None:
        """Record that Envoy accepted `digest`."""
        of, fingerprint, at = self._fingerprints.get(slot, ("", "", 0.0))
        if of == digest and fingerprint:
            self._intervals.append(SecretInterval(slot, fingerprint, at, self._clock().timestamp()))
        before = self.slots.get(slot)
        if before is not None:
            newest = before.digest == digest
            error = "" if newest else before.error
            self._say(slot, before.digest, digest, error)

    def refused(self, slot: str, digest: str, error: str) -> None:
        """Record that Envoy, or this server, rejected `digest`."""
        before = self.slots.get(slot)
        self._refused[slot] = (digest, self.refusals_of(slot, digest) + 1)
        accepted = before.accepted if before else None
        self.fallbacks.rejected(slot, digest, accepted)
        if before is None or before.digest == digest:
            self._say(slot, digest, accepted, error)

    def rejected_resource(self, slot: str, digest: str) -> None:
        """Record a secret of a rejected response; another secret may be at fault."""
        self._refused[slot] = (digest, self.refusals_of(slot, digest) + 1)

    def removed(self, slot: str) -> None:
        """Forget a removed slot."""
        self.slots.pop(slot, None)
        self.changed.add(slot)
        self.fallbacks.removed(slot)
        self._refused.pop(slot, None)
        self._fingerprints.pop(slot, None)

    def _say(self, slot: str, digest: str, accepted: str | None, error: str) -> None:
        self.slots[slot] = SlotStatus(digest=digest, accepted=accepted, error=error, since=self._clock())
        self.changed.add(slot)
