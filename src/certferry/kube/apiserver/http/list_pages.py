"""Snapshots for paged lists: all pages show the objects of the first page's revision.

A snapshot holds references to immutable stored objects, so that it costs only what was replaced meanwhile.
A client with an expired token gets 410 Gone, as from the real server.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from certferry.kube.apiserver.errors import expired
from certferry.kube.apiserver.resources.builtin import ResourceDefinition
from certferry.kube.apiserver.storage.log import Stored

_LIFETIME = 300.0
_MAX_SNAPSHOTS = 64


class _Snapshot(msgspec.Struct):
    objects: Sequence[Stored]
    used: float


class ListSnapshots:
    """Sorted objects of a kind at a revision. Belongs to one event loop."""

    def __init__(self) -> None:
        self._snapshots: dict[tuple[str, int], _Snapshot] = {}

    def add(self, kind: ResourceDefinition, revision: int, objects: Sequence[Stored]) -> None:
        """Keep the objects of a first page; drop expired snapshots, and the oldest of too many."""
        now = time.monotonic()
        self._snapshots.setdefault((kind.plural, revision), _Snapshot(objects, now))
        old = [k for k, snapshot in self._snapshots.items() if now - snapshot.used > _LIFETIME]
        for key in old + list(self._snapshots)[: max(0, len(self._snapshots) - len(old) - _MAX_SNAPSHOTS)]:
            self._snapshots.pop(key, None)

    def get(self, kind: ResourceDefinition, revision: int) -> Sequence[Stored]:
        """Return the objects of a snapshot. Raises ``ApiStatus`` (410)."""
        snapshot = self._snapshots.get((kind.plural, revision))
        if snapshot is None:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result. "
                "You can start a new list without the continue parameter."
            )
        snapshot.used = time.monotonic()
        return snapshot.objects
