"""Objects of one kind, kept current by list and watch.

After a 410 the informer lists again and compares, so that it sees deletions in between. It never forgets on
suspicion: an error removes nothing, and an empty list is believed only after ``EMPTY_GRACE``.
"""

from __future__ import annotations

import asyncio
import operator
import random
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Generic, Protocol, TypeVar

import structlog

from certferry.core.model.kubernetes import Name, ObjectRef
from certferry.kube.client.client import Event, Kind, KubeClient, KubeError, Object
from certferry.runtime.backoff import Backoff

_log = structlog.get_logger()

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)

WATCH_SECONDS: Final = (300, 600)
FIRST_DELAY: Final = 0.05
LONGEST_DELAY: Final = 5.0
LONGEST_DELAY_UNREACHED: Final = 1.0
"""Ceiling while the API is unreachable, because failed connections cost it nothing."""
EMPTY_GRACE: Final = 10.0
"""Seconds for which a list must stay empty, after objects were listed, before it is believed."""
YIELD_EVERY: Final = 25
"""Number of objects parsed before other tasks get a turn."""


class Source(Protocol[V_co]):
    """Objects of one kind by name, from any source."""

    @property
    def synced(self) -> bool:
        """Return whether every object was read at least once."""

    @property
    def trouble(self) -> str | None:
        """Return a sentence that says why the objects are not current; None if they are."""

    @property
    def values(self) -> Mapping[Name, V_co]:
        """Return the current objects; the same mapping until something changes."""

    @property
    def malformed(self) -> Mapping[ObjectRef, str]:
        """Return the type of the error for each object whose newest version cannot be parsed."""

    def get(self, name: Name) -> V_co | None:
        """Return the object called `name`; None if absent."""

    async def run(self) -> None:
        """Keep current until cancelled."""


class _Entry(Generic[V]):
    __slots__ = ("value", "version")

    def __init__(self, version: str, value: V) -> None:
        self.version = version
        self.value = value


class Informer(Generic[V]):
    """Objects of one kind, in one namespace or in all, current while ``run`` runs."""

    def __init__(
        self,
        client: KubeClient,
        kind: Kind,
        parse: Callable[[Object], V],
        changed: Callable[[], None],
        namespace: str | None = None,
        same: Callable[[V, V], bool] = operator.eq,
    ) -> None:
        """`same`: whether two versions of an object are alike to readers of ``values``; ``get`` returns the newest."""
        self._client = client
        self._kind = kind
        self._namespace = namespace
        self._parse = parse
        self._changed = changed
        self._same = same
        self._entries: dict[Name, _Entry[V]] = {}
        self._version: str | None = None
        self._empty_since: float | None = None
        self._snapshot: Mapping[Name, V] | None = None
        self.synced = False
        self.trouble: str | None = None
        self.malformed: Mapping[ObjectRef, str] = MappingProxyType({})

    @property
    def values(self) -> Mapping[Name, V]:
        """Return the current objects; the same mapping until something changes."""
        if self._snapshot is None:
            self._snapshot = MappingProxyType({name: e.value for name, e in self._entries.items()})
        return self._snapshot

    def get(self, name: Name) -> V | None:
        """Return the object called `name`; None if absent."""
        entry = self._entries.get(name)
        return entry.value if entry else None

    async def run(self) -> None:
        """List and watch until cancelled."""
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        while True:
            began, version, longest = time.monotonic(), self._version, LONGEST_DELAY
            try:
                if self._version is None:
                    await self._list()
                await self._follow()
            except KubeError as error:
                self._failed(error, backoff.delay)
                longest = LONGEST_DELAY if error.status else LONGEST_DELAY_UNREACHED
            # An answer that brings nothing and ends at once (repeated 410) must not cause a busy loop.
            moved = version is not None and self._version not in (None, version)
            if moved or time.monotonic() - began > 1:
                backoff.reset()
            await backoff.wait(longest)

    def _failed(self, error: KubeError, delay: float) -> None:
        if error.gone:
            self._version = None
        # a watch that was cut once is resumed at once, which is normal
        elif error.reason != "Cut" or delay > 4 * FIRST_DELAY:
            self._report(str(error))

    def _report(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._changed()

    async def _list(self) -> None:
        listing = await self._client.listing(self._kind, self._namespace)
        self._check_not_emptied(len(listing.items))
        seen = set()
        for number, item in enumerate(listing.items, start=1):
            seen.add(self._put(item))
            if number % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        for name in self._entries.keys() - seen:
            del self._entries[name]
            self._snapshot = None
        self.malformed = {ref: e for ref, e in self.malformed.items() if Name(ref.namespace, ref.name) in seen}
        self._version = listing.version
        self.synced = True
        self.trouble = None
        self._changed()

    def _check_not_emptied(self, count: int) -> None:
        if count or not self._entries:
            self._empty_since = None
            return
        now = time.monotonic()
        self._empty_since = self._empty_since or now
        if now - self._empty_since < EMPTY_GRACE:
            before = len(self._entries)
            raise KubeError(0, "Empty", f"no {self._kind.plural} listed where {before} were; they are kept")

    async def _follow(self) -> None:
        assert self._version is not None
        seconds = random.randint(*WATCH_SECONDS)  # noqa: S311 - so that watches do not all end at once
        async for event in self._client.watch(self._kind, self._version, seconds, self._namespace):
            self._report(None)
            self._apply_event(event)
        self._report(None)

    def _apply_event(self, event: Event) -> None:
        if event.type != "BOOKMARK":
            if event.type == "DELETED":
                self._entries.pop(name_of(event.object), None)
                self.malformed = without(self.malformed, name_of(event.object))
                self._snapshot = None
            else:
                self._put(event.object)
            self._changed()
        self._version = str(event.object["metadata"]["resourceVersion"])

    def _put(self, item: Object) -> Name:
        name, version = name_of(item), str(item["metadata"].get("resourceVersion", ""))
        present = self._entries.get(name)
        if present is not None and version and present.version == version:
            return name
        self.malformed = without(self.malformed, name)
        try:
            value = self._parse(item)
        except Exception as error:  # noqa: BLE001 (a malformed object affects only itself; its last good version stays)
            self.malformed = {**self.malformed, **malformed(self._kind, item, error)}
            return name
        self._entries[name] = _Entry(version, value)
        if present is None or not self._same(present.value, value):
            self._snapshot = None
        return name


def malformed(kind: Kind, item: Object, error: Exception) -> dict[ObjectRef, str]:
    """Log an object that cannot be parsed; return it and the type of the error."""
    name, what = name_of(item), type(error).__name__
    _log.warning("malformed object ignored", kind=kind.name, object=str(name), error=what)
    uid = str(item["metadata"].get("uid") or "")
    return {ObjectRef(kind=kind.name, namespace=name.namespace, name=name.name, uid=uid): what}


def without(malformed: Mapping[ObjectRef, str], name: Name) -> Mapping[ObjectRef, str]:
    """Return `malformed` without the object called `name`."""
    if not malformed:
        return malformed
    return {ref: error for ref, error in malformed.items() if Name(ref.namespace, ref.name) != name}


class NamespacedInformers(Generic[V]):
    """Several informers of one kind, one per namespace."""

    def __init__(self, informers: Sequence[Informer[V]]) -> None:
        self._informers = informers
        self._merged_from: tuple[Mapping[Name, V], ...] = ()
        self._snapshot: Mapping[Name, V] = MappingProxyType({})

    @property
    def synced(self) -> bool:
        """Return whether every object was read at least once."""
        return all(part.synced for part in self._informers)

    @property
    def trouble(self) -> str | None:
        """Return a sentence that says why the objects are not current; None if they are."""
        return next((part.trouble for part in self._informers if part.trouble), None)

    @property
    def values(self) -> Mapping[Name, V]:
        """Return the current objects; the same mapping until something changes."""
        now = tuple(part.values for part in self._informers)
        if len(now) != len(self._merged_from) or any(a is not b for a, b in zip(now, self._merged_from, strict=True)):
            self._merged_from = now
            self._snapshot = MappingProxyType({name: v for part in now for name, v in part.items()})
        return self._snapshot

    @property
    def malformed(self) -> Mapping[ObjectRef, str]:
        """Return the type of the error for each object whose newest version cannot be parsed."""
        return {ref: error for part in self._informers for ref, error in part.malformed.items()}

    def get(self, name: Name) -> V | None:
        """Return the object called `name`; None if absent."""
        return next((v for part in self._informers if (v := part.get(name)) is not None), None)

    async def run(self) -> None:
        """Keep current until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for part in self._informers:
                tasks.create_task(part.run())


def name_of(item: Object) -> Name:
    """Return namespace and name of an object."""
    meta = item["metadata"]
    return Name(meta.get("namespace") or "", meta["name"])
