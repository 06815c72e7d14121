"""Which certificate sat on which seat of our Envoy at what time. Written by ``ledger``, read by ``access``.

Envoy's access log does not say which certificate a client was shown. It says which seat, and when the
client connected; this says the rest, also for connections that are older than this process.
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
"""Sittings per seat that a file begins with: connections older than that many rotations are told as unknown."""
_SLACK: Final = 0.02
"""Seconds after Envoy's word in which one of its threads may still show the one before."""


class SecretInterval(msgspec.Struct, frozen=True, array_like=True):
    """From the instants (seconds since 1970) on: Envoy was being sent it, and had taken it."""

    slot: str
    fingerprint: str
    sent: float
    accepted: float


class SecretHistory:
    """All that is known, in memory and in a file that only grows while this process lives."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._by_slot: dict[str, list[SecretInterval]] = {}
        for interval in _read(file):
            self._remember(interval)
        kept = [s for some in self._by_slot.values() for s in some[-_KEPT:]]
        private_files.write(file, _lines(kept))

    def add(self, intervals: Iterable[SecretInterval]) -> None:
        """Remembers them, also for the next process; what was known last is no news."""
        new = [s for s in intervals if self._remember(s)]
        if new:
            with os.fdopen(os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
                file.write(_lines(new))

    def shown(self, slot: str, at: float) -> tuple[str, ...]:
        """Fingerprints that a client which connected at `at` may have been shown on `seat`, likeliest first.

        One, but for the instants of a change; none where nothing is known of that time.
        """
        some = self._by_slot.get(slot, [])
        index = bisect.bisect_right([s.sent for s in some], at) - 1
        if index < 0:
            return ()
        found = [some[index].fingerprint]
        while index > 0 and at < some[index].accepted + _SLACK:
            index -= 1
            found.append(some[index].fingerprint)
        return tuple(dict.fromkeys(found))

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
            continue  # the power went while it was written


def _lines(intervals: Iterable[SecretInterval]) -> bytes:
    return b"".join(msgspec.json.encode(interval) + b"\n" for interval in intervals)
