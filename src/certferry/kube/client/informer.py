"""The objects of one kind, kept current by listing and watching.

``kube.cache`` makes one per kind (and per namespace, where it may not see all). Each lists, then
watches from there, and lists again after a 410 and compares, so that deletions in between are seen.
It refuses to forget on suspicion: an error removes nothing, and an empty answer where objects were
must stay empty for a while before it is believed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Generic, Protocol, TypeVar

import structlog

from certferry.core.model.kubernetes import Name
from certferry.kube.client.client import Event, Kind, KubeClient, KubeError, Object
from certferry.runtime.backoff import Backoff

_log = structlog.get_logger()

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)

WATCH_SECONDS: Final = (300, 600)
FIRST_DELAY: Final = 0.05
LONGEST_DELAY: Final = 5.0
LONGEST_DELAY_UNREACHED: Final = 1.0
"""The same while nobody answers at all: then asking costs nobody anything."""
EMPTY_GRACE: Final = 10.0
"""Seconds that a list must stay empty, where objects were, until it is believed."""
YIELD_EVERY: Final = 25
"""Objects parsed in a row before others get their turn."""


class Source(Protocol[V_co]):
    """Objects of one kind by name, wherever they come from."""

    @property
    def synced(self) -> bool:
        """Whether everything was seen once."""

    @property
    def trouble(self) -> str | None:
        """Why it is not current, for people; None when it is."""

    @property
    def values(self) -> Mapping[Name, V_co]:
        """The objects now; the same mapping as long as nothing changes."""

    def get(self, name: Name) -> V_co | None:
        """The object called `name`, if there is one."""

    async def run(self) -> None:
        """Keep current until cancelled."""


class _Entry(Generic[V]):
    __slots__ = ("value", "version")

    def __init__(self, version: str, value: V) -> None:
        self.version = version
        self.value = value


class Informer(Generic[V]):
    """The objects of one kind, in one namespace or in all, current while ``run`` runs."""

    def __init__(
        self,
        client: KubeClient,
        kind: Kind,
        parse: Callable[[Object], V],
        changed: Callable[[], None],
        namespace: str | None = None,
    ) -> None:
        self._client = client
        self._kind = kind
        self._namespace = namespace
        self._parse = parse
        self._changed = changed
        self._entries: dict[Name, _Entry[V]] = {}
        self._version: str | None = None
        self._empty_since: float | None = None
        self._snapshot: Mapping[Name, V] | None = None
        self.synced = False
        self.trouble: str | None = None

    @property
    def values(self) -> Mapping[Name, V]:
        """The objects now; the same mapping as long as nothing changes."""
        if self._snapshot is None:
            self._snapshot = MappingProxyType({name: e.value for name, e in self._entries.items()})
        return self._snapshot

    def get(self, name: Name) -> V | None:
        """The object called `name`, if there is one."""
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
            # An answer that brings nothing and ends at once (a 410 again and again) must not spin.
            moved = version is not None and self._version not in (None, version)
            if moved or time.monotonic() - began > 1:
                backoff.reset()
            await backoff.wait(longest)

    def _failed(self, error: KubeError, delay: float) -> None:
        if error.gone:
            self._version = None
        # a watch that is cut once is resumed at once: that is no trouble yet
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
        try:
            value = self._parse(item)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # one object that no server should have let in loses only itself; the last good one stays
            _log.warning(
                "object not understood", kind=self._kind.name, object=str(name), error=type(error).__name__
            )
            return name
        self._entries[name] = _Entry(version, value)
        if present is None or present.value != value:
            self._snapshot = None
        return name


class NamespacedInformers(Generic[V]):
    """Several informers of one kind, one per namespace."""

    def __init__(self, informers: Sequence[Informer[V]]) -> None:
        self._informers = informers
        self._merged_from: tuple[Mapping[Name, V], ...] = ()
        self._snapshot: Mapping[Name, V] = MappingProxyType({})

    @property
    def synced(self) -> bool:
        """Whether everything was seen once."""
        return all(part.synced for part in self._informers)

    @property
    def trouble(self) -> str | None:
        """Why it is not current."""
        return next((part.trouble for part in self._informers if part.trouble), None)

    @property
    def values(self) -> Mapping[Name, V]:
        """The objects now."""
        now = tuple(part.values for part in self._informers)
        if len(now) != len(self._merged_from) or any(
            a is not b for a, b in zip(now, self._merged_from, strict=True)
        ):
            self._merged_from = now
            self._snapshot = MappingProxyType({name: v for part in now for name, v in part.items()})
        return self._snapshot

    def get(self, name: Name) -> V | None:
        """The object called `name`."""
        return next((v for part in self._informers if (v := part.get(name)) is not None), None)

    async def run(self) -> None:
        """Keep current until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for part in self._informers:
                tasks.create_task(part.run())


def name_of(item: Object) -> Name:
    """Namespace and name of an object."""
    meta = item["metadata"]
    return Name(meta.get("namespace") or "", meta["name"])
