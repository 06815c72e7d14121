"""Journal of a replacement: the places to write, kept until all are written.

After an interruption some places have the new content already, so that a search for the old one misses them.
The journal holds no key and no certificate.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from certferry.runtime import private_files
from certferry.settings import state_default


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A Secret, or a certificate of an ELB."""

    cluster: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.cluster} {self.kind} {self.name}"


class Journal:
    """The journal file of one replacement, named by new content and argument."""

    def __init__(self, fingerprint: str, word: str) -> None:
        mark = hashlib.sha256(f"{fingerprint} {word}".encode()).hexdigest()[:16]
        self._file: Path = state_default(os.environ) / "replacements" / f"{mark}.json"

    def read(self) -> list[Place]:
        """Return the places; empty if there is no journal."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=list[Place])
        except (OSError, msgspec.DecodeError):
            return []

    def write(self, places: Sequence[Place]) -> None:
        """Write the places. Call it before the first change."""
        self._file.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file.parent.mkdir(mode=0o700, exist_ok=True)
        private_files.write(self._file, msgspec.json.encode(list(places)).decode())

    def remove(self) -> None:
        """Delete the journal after the last change."""
        self._file.unlink(missing_ok=True)
