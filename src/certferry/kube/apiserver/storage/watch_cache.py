"""All objects in memory, and the recent changes of each kind.

Reads see committed state. Writes to one object run one after another, so that each decision uses committed
state. Writes to different objects share a commit. A watcher keeps a position and reads on from it
(``after``). A slow one costs nothing and reads older changes from the store.
Upstream: https://github.com/kubernetes/apiserver/tree/master/pkg/storage/cacher
"""

from __future__ import annotations

import asyncio
import bisect
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from certferry.kube.apiserver.errors import ApiStatus, expired, internal
from certferry.kube.apiserver.resources.builtin import Object, ResourceDefinition
from certferry.kube.apiserver.storage.log import Change, IndexedFields, Store, Stored, Verb
from certferry.kube.apiserver.storage.selectors import Selection, selectable_fields
from certferry.runtime.latest import Latest

_MAX_RECENT = 4_000
"""Changes of one kind that stay in memory; older ones come from the store."""
_PAGE = 500


class Mutation(msgspec.Struct, frozen=True):
    """Store `object`, or delete it (then `object` is its last state)."""

    verb: Verb
    object: Object


Decision = Callable[[Stored | None], "Mutation | Stored"]
"""From the stored object to its mutation; returns the same ``Stored`` if there is nothing to do."""

LARGE: Final = 16_384
"""Bytes of a body from which on it is processed in a thread, so that other requests go on."""


class WatchCache:
    """All objects of `kinds`, persisted in `store`. Belongs to one event loop."""

    def __init__(self, store: Store, kinds: tuple[ResourceDefinition, ...]) -> None:
        self._store = store
        self._kinds = {k.plural: k for k in kinds}
        self._objects: dict[str, dict[tuple[str, str], Stored]] = {k.plural: {} for k in kinds}
        self._recent: dict[str, list[Change]] = {k.plural: [] for k in kinds}
        self._evicted = dict.fromkeys(self._objects, store.revision)
        self._pending: dict[tuple[str, str, str], asyncio.Future[Stored]] = {}
        self._assigned = store.revision
        self.revision = store.revision
        """Revision of the newest committed change."""
        self.changed: dict[str, Latest[int]] = {k.plural: Latest(store.revision) for k in kinds}
        """By plural: the revision of the kind's newest change."""
        for stored in store.objects():
            if stored.kind in self._objects:
                self._objects[stored.kind][stored.namespace, stored.name] = stored

    def start(self) -> None:
        """Accept writes from now on, in the running loop."""
        self._store.start(self._committed)

    def get(self, kind: ResourceDefinition, namespace: str, name: str) -> Stored | None:
        """Return the committed object; None if absent. Cluster-scoped kinds have an empty namespace."""
        return self._objects[kind.plural].get((namespace, name))

    def all(self, plural: str) -> Iterator[Stored]:
        """Iterate over all objects of a kind in any order; do not await meanwhile."""
        return iter(self._objects[plural].values())

    def select(self, kind: ResourceDefinition, namespace: str, selection: Selection) -> list[Stored]:
        """Return the selected objects, sorted by namespace and name; an empty namespace means all."""
        objects = self._objects[kind.plural]
        keys = sorted(k for k in objects if k[0] == namespace) if namespace else sorted(objects)
        if selection.selects_all:
            return [objects[k] for k in keys]
        return [s for s in map(objects.__getitem__, keys) if selection.matches(s.indexed.labels, s.indexed.fields)]

    def object_of(self, stored: Stored) -> Object:
        """Return a new copy of the object, which the caller may change."""
        obj: Object = msgspec.json.decode(stored.body)
        return obj

    async def write(
        self, kind: ResourceDefinition, namespace: str, name: str, decide: Decision, *, large: bool = False
    ) -> Stored:
        """Commit the mutation that `decide` returns. Raises what `decide` raises.

        For a large request or object it is called in a thread, so that other requests go on.
        """
        key = (kind.plural, namespace, name)
        while (before := self._pending.get(key)) is not None:
            await asyncio.wait([before])
        old = self.get(kind, namespace, name)
        large = large or (old is not None and len(old.body) >= LARGE)
        # The cluster IPs of Services depend on other objects, which change meanwhile.
        outcome = await self._decided(key, decide, old) if large and kind.name != "Service" else decide(old)
        if isinstance(outcome, Stored):
            return outcome
        self._assigned += 1
        stored = encode(kind, outcome.object, self._assigned)
        future: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self._pending[key] = future
        self._store.append(Change(outcome.verb, stored, old.indexed if old else None))
        # The write continues if the client disconnects.
        return await asyncio.shield(future)

    async def _decided(self, key: tuple[str, str, str], decide: Decision, old: Stored | None) -> Mutation | Stored:
        """Call `decide` in a thread, while no other request writes the object `key`."""
        deciding: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self._pending[key] = deciding
        try:
            return await asyncio.to_thread(decide, old)
        finally:
            del self._pending[key]
            deciding.cancel()

    async def after(self, kind: ResourceDefinition, revision: int) -> list[Change]:
        """Return changes of `kind` after `revision`, oldest first, a page at most.

        Raises ``ApiStatus`` (410) if the history no longer has them.
        """
        if revision >= self._evicted[kind.plural]:
            recent = self._recent[kind.plural]
            start = bisect.bisect_right(recent, revision, key=lambda c: c.stored.revision)
            return recent[start : start + _PAGE]
        changes = await self._store.after(kind.plural, revision, _PAGE)
        self.check_kept(revision)
        return [c for c in changes if c.stored.revision <= self.revision]

    def check_kept(self, revision: int) -> None:
        """Raise ``ApiStatus`` (410) if changes after `revision` were compacted."""
        if revision < self._store.compacted:
            raise expired(f"too old resource version: {revision} ({self._store.compacted})")

    def _committed(self, batch: list[Change], error: Exception | None) -> None:
        for change in batch:
            future = self._pending.pop(change.stored.key)
            if error is None:
                self._apply(change)
                future.set_result(change.stored)
            else:
                future.set_exception(_failure(error))
                future.exception()  # retrieved, because the client may have disconnected
        if error is None:
            self.revision = batch[-1].stored.revision
            for plural in {c.stored.kind for c in batch}:
                self.changed[plural].set(self.revision)

    def _apply(self, change: Change) -> None:
        stored = change.stored
        objects = self._objects[stored.kind]
        if change.verb == "DELETED":
            objects.pop((stored.namespace, stored.name), None)
        else:
            objects[stored.namespace, stored.name] = stored
        recent = self._recent[stored.kind]
        recent.append(change)
        if len(recent) > 2 * _MAX_RECENT:
            self._evicted[stored.kind] = recent[_MAX_RECENT - 1].stored.revision
            del recent[:_MAX_RECENT]


def encode(kind: ResourceDefinition, obj: Object, revision: int) -> Stored:
    """Encode `obj` for the store, with its new resourceVersion."""
    meta = obj["metadata"]
    meta["resourceVersion"] = str(revision)
    body: dict[str, Any] = {"kind": kind.name, "apiVersion": kind.api_version}
    body |= {k: v for k, v in obj.items() if k not in body}
    indexed = IndexedFields(meta.get("labels", {}), selectable_fields(kind, obj))
    encoded = msgspec.json.encode(body)
    return Stored(kind.plural, meta.get("namespace", ""), meta["name"], revision, encoded, indexed)


def _failure(error: Exception) -> ApiStatus:
    full = isinstance(error, sqlite3.Error) and error.sqlite_errorname == "SQLITE_FULL"
    why = "the disk is full" if full else str(error)
    return internal(f"the change could not be stored: {why}")
