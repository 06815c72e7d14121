"""The certificates that each slot of our Envoy has had, with their times.

Envoy's access log names the slot and the time of a connection, but not the certificate. This history adds it,
also for connections older than this process.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from certferry.runtime import private_files

_KEPT: Final = 20
"""Intervals per slot that are kept when the file is written anew; the certificate of an older connection is unknown."""
_SLOTS: Final = 10_000
"""Slots that are kept. More exist only after many listeners and names were deleted."""
_MOST: Final = 50_000
"""Intervals that are appended to the file before it is written anew."""
_SLACK: Final = 0.02
"""Seconds after Envoy's acknowledgement in which one of its threads may still serve the previous one."""


class SecretInterval(msgspec.Struct, frozen=True, array_like=True):
    """A certificate in a slot, from two instants on (seconds since 1970): sent to Envoy, and accepted by it."""

    slot: str
    fingerprint: str
    sent: float
    accepted: float


class SecretHistory:
    """The intervals of all slots, in memory and in a file. Both are bounded; the least recently changed slots go first."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._by_slot: dict[str, list[SecretInterval]] = {}
        for interval in _read(file):
            self._remember(interval)
        self._compact()

    def add(self, intervals: Iterable[SecretInterval]) -> None:
        """Remember intervals, also for the next process. A repeated certificate of a slot is ignored."""
        new = [s for s in intervals if self._remember(s)]
        if new:
            with os.fdopen(os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
                file.write(_lines(new))
            self._written += len(new)
            if self._written > _MOST:
                self._compact()

    def shown(self, slot: str, at: float) -> tuple[str, ...]:
        """Return the fingerprints that `slot` may have served at `at`, most likely first.

        Usually one; several around a change; none if the time is unknown.
        """
        some = self._by_slot.get(slot)
        if not some:
            return ()
        if at >= max(some[-1].sent, some[-1].accepted + _SLACK):
            return (some[-1].fingerprint,)  # nearly always
        index = bisect.bisect_right([s.sent for s in some], at) - 1
        if index < 0:
            return ()
        fingerprints = [some[index].fingerprint]
        while index > 0 and at < some[index].accepted + _SLACK:
            index -= 1
            fingerprints.append(some[index].fingerprint)
        return tuple(dict.fromkeys(fingerprints))

    def _compact(self) -> None:
        """Write the file anew with what is kept."""
        slots = list(self._by_slot.items())[-_SLOTS:]
        self._by_slot = {slot: some[-_KEPT:] for slot, some in slots}
        kept = [interval for some in self._by_slot.values() for interval in some]
        private_files.write(self._file, _lines(kept))
        self._written = 0

    def _remember(self, interval: SecretInterval) -> bool:
        some = self._by_slot.pop(interval.slot, [])
        self._by_slot[interval.slot] = some  # to the end of the order
        if some and some[-1].fingerprint == interval.fingerprint:
            return False
        some.append(interval)
        del some[: -10 * _KEPT]
        return True


def _read(file: Path) -> Iterable[SecretInterval]:
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return
    decode = msgspec.json.Decoder(SecretInterval).decode
    for line in lines:
        try:
            yield decode(line)
        except msgspec.DecodeError:
            continue  # a line that a power cut truncated


def _lines(intervals: Iterable[SecretInterval]) -> bytes:
    return b"".join(msgspec.json.encode(interval) + b"\n" for interval in intervals)
