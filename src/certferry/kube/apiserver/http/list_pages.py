"""Lists that are read page by page: all pages show the objects as they were at the first.

`api` keeps one when a page leaves something over and reads the next pages from it. It holds references
to stored objects, which never change, so it costs what was replaced meanwhile. A client that comes
back too late is told 410 Gone and begins anew, as with the real server.
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
    """Sorted objects of a kind at a revision. Belongs to one loop."""

    def __init__(self) -> None:
        self._snapshots: dict[tuple[str, int], _Snapshot] = {}

    def add(self, kind: ResourceDefinition, revision: int, objects: Sequence[Stored]) -> None:
        """Remember what the first page saw; of what is forgotten, the oldest first."""
        now = time.monotonic()
        self._snapshots.setdefault((kind.plural, revision), _Snapshot(objects, now))
        old = [k for k, snapshot in self._snapshots.items() if now - snapshot.used > _LIFETIME]
        for key in old + list(self._snapshots)[: max(0, len(self._snapshots) - len(old) - _MAX_SNAPSHOTS)]:
            self._snapshots.pop(key, None)

    def get(self, kind: ResourceDefinition, revision: int) -> Sequence[Stored]:
        """What was kept. Raises ``Refused`` (410)."""
        snapshot = self._snapshots.get((kind.plural, revision))
        if snapshot is None:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result. "
                "You can start a new list without the continue parameter."
            )
        snapshot.used = time.monotonic()
        return snapshot.objects
