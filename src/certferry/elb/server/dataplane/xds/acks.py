"""What Envoy said about what it was sent: per seat, and for everything else. Written by ``elb.stream``."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from certferry.elb.server.dataplane.access_log.secret_history import SecretInterval

_UNREAD: Final = 20_000
"""Sittings kept while nobody asks for them: more than a renewal of everything makes in a second."""


def _now() -> datetime:
    return datetime.now(UTC)


class SlotStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The last word on a seat. Accepted is not yet served: only a handshake shows that."""

    digest: str
    """Of the chain that was sent last (``Chain.digest``)."""
    accepted: str | None = None
    """Of the chain that Envoy accepted last."""
    error: str = ""
    """Why `digest` is not accepted, in Envoy's words or ours."""
    since: datetime | None = None
    """When this word was said; None for what Envoy had before we met it."""


class AckLog:
    """Statuses by seat, and refusals of other resources by (type URL, name)."""

    def __init__(self, generation: int = 0, clock: Callable[[], datetime] = _now) -> None:
        self._generation = generation
        self._clock = clock
        self._met: dict[str, str] = {}
        self.slots: dict[str, SlotStatus] = {}
        self.refusals: dict[tuple[str, str], str] = {}
        self._refused: dict[str, tuple[str, int]] = {}
        self._fingerprints: dict[str, tuple[str, str, float]] = {}
        self._intervals: deque[SecretInterval] = deque(maxlen=_UNREAD)

    def retries(self, slot: str, digest: str) -> int:
        """A number that differs whenever Envoy may have refused exactly this on `seat` before.

        On a seat that Envoy had from a server before us we cannot know, so the number starts elsewhere.
        """
        first = self._generation if self._met.get(slot, digest) != digest else 0
        return first + self.refusals_of(slot, digest)

    def refusals_of(self, slot: str, digest: str) -> int:
        """How often Envoy refused exactly this on `slot`, as far as we know."""
        refused, times = self._refused.get(slot, ("", 0))
        return times if refused == digest else 0

    def intervals(self) -> Iterator[SecretInterval]:
        """What sits where since when, as far as it was not told yet."""
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
        """What Envoy says it has, when it meets us for the first time."""
        self._met.update(versions)
        for slot, digest in versions.items():
            self.slots.setdefault(slot, SlotStatus(digest=digest, accepted=digest))

    def already_has(self, slot: str, fingerprint: str) -> None:
        """Envoy has had it since before we met."""
        self._intervals.append(SecretInterval(slot, fingerprint, 0.0, 0.0))

    def accepted(self, slot: str, digest: str) -> None:
        """Envoy took it."""
        of, fingerprint, at = self._fingerprints.get(slot, ("", "", 0.0))
        if of == digest and fingerprint:
            self._intervals.append(SecretInterval(slot, fingerprint, at, self._clock().timestamp()))
        before = self.slots.get(slot)
        if before is not None:
            newest = before.digest == digest
            error = "" if newest else before.error
            self._say(slot, before.digest, digest, error)

    def refused(self, slot: str, digest: str, error: str) -> None:
        """Envoy, or we before it, would not have it."""
        before = self.slots.get(slot)
        self._refused[slot] = (digest, self.refusals_of(slot, digest) + 1)
        accepted = before.accepted if before else None
        if before is None or before.digest == digest:
            self._say(slot, digest, accepted, error)

    def rejected_resource(self, slot: str, digest: str) -> None:
        """It was in a response that was refused, by its own fault or another's."""
        self._refused[slot] = (digest, self.refusals_of(slot, digest) + 1)

    def removed(self, slot: str) -> None:
        """The seat is no more."""
        self.slots.pop(slot, None)
        self._refused.pop(slot, None)
        self._fingerprints.pop(slot, None)

    def _say(self, slot: str, digest: str, accepted: str | None, error: str) -> None:
        self.slots[slot] = SlotStatus(digest=digest, accepted=accepted, error=error, since=self._clock())
