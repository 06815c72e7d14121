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

_SECONDS = 300.0
_MOST = 64


class _Kept(msgspec.Struct):
    objects: Sequence[Stored]
    used: float


class ContinueTokens:
    """Sorted objects of a kind at a revision. Belongs to one loop."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], _Kept] = {}

    def keep(self, kind: ResourceDefinition, revision: int, objects: Sequence[Stored]) -> None:
        """Remember what the first page saw; of what is forgotten, the oldest first."""
        now = time.monotonic()
        self._kept.setdefault((kind.plural, revision), _Kept(objects, now))
        old = [k for k, kept in self._kept.items() if now - kept.used > _SECONDS]
        for key in old + list(self._kept)[: max(0, len(self._kept) - len(old) - _MOST)]:
            self._kept.pop(key, None)

    def read(self, kind: ResourceDefinition, revision: int) -> Sequence[Stored]:
        """What was kept. Raises ``Refused`` (410)."""
        kept = self._kept.get((kind.plural, revision))
        if kept is None:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result. "
                "You can start a new list without the continue parameter."
            )
        kept.used = time.monotonic()
        return kept.objects
