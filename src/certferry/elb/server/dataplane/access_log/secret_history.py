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
"""Intervals per slot that are kept at start; the certificate of an older connection is unknown."""
_SLACK: Final = 0.02
"""Seconds after Envoy's acknowledgement in which one of its threads may still serve the previous one."""


class SecretInterval(msgspec.Struct, frozen=True, array_like=True):
    """A certificate in a slot, from two instants on (seconds since 1970): sent to Envoy, and accepted by it."""

    slot: str
    fingerprint: str
    sent: float
    accepted: float


class SecretHistory:
    """The intervals of all slots, in memory and in a file that only grows while this process lives."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._by_slot: dict[str, list[SecretInterval]] = {}
        for interval in _read(file):
            self._remember(interval)
        kept = [s for some in self._by_slot.values() for s in some[-_KEPT:]]
        private_files.write(file, _lines(kept))

    def add(self, intervals: Iterable[SecretInterval]) -> None:
        """Remember intervals, also for the next process. A repeated certificate of a slot is ignored."""
        new = [s for s in intervals if self._remember(s)]
        if new:
            with os.fdopen(os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
                file.write(_lines(new))

    def shown(self, slot: str, at: float) -> tuple[str, ...]:
        """Return the fingerprints that `slot` may have served at `at`, most likely first.

        Usually one; several around a change; none if the time is unknown.
        """
        some = self._by_slot.get(slot, [])
        index = bisect.bisect_right([s.sent for s in some], at) - 1
        if index < 0:
            return ()
        fingerprints = [some[index].fingerprint]
        while index > 0 and at < some[index].accepted + _SLACK:
            index -= 1
            fingerprints.append(some[index].fingerprint)
        return tuple(dict.fromkeys(fingerprints))

    def _remember(self, interval: SecretInterval) -> bool:
        some = self._by_slot.setdefault(interval.slot, [])
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
