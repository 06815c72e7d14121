"""What a replacement was about to do, kept until all of it is done.

After an interruption the old content is no longer everywhere, so that it cannot be looked for again.
No key and no certificate is in it.
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
    """Where a content is kept: a Secret, or a certificate of an ELB."""

    cluster: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.cluster} {self.kind} {self.name}"


class Journal:
    """Of one replacement: the new content, and the words that were typed."""

    def __init__(self, fingerprint: str, word: str) -> None:
        mark = hashlib.sha256(f"{fingerprint} {word}".encode()).hexdigest()[:16]
        self._file: Path = state_default(os.environ) / "replacements" / f"{mark}.json"

    def read(self) -> list[Place]:
        """What was to be done; empty when there is nothing to go on with."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=list[Place])
        except (OSError, msgspec.DecodeError):
            return []

    def write(self, places: Sequence[Place]) -> None:
        """Before the first change."""
        self._file.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file.parent.mkdir(mode=0o700, exist_ok=True)
        private_files.write(self._file, msgspec.json.encode(list(places)).decode())

    def remove(self) -> None:
        """All is done."""
        self._file.unlink(missing_ok=True)
