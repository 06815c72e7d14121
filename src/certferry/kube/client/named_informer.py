"""Objects that are read one by one by name, with one watch each.

It serves controllers that may ``get`` and ``watch`` Secrets by name but not list them. An object that may
not be read counts as absent, and absence deletes nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, Generic

from certferry.core.model.kubernetes import Name, ObjectRef
from certferry.kube.client.client import Kind, KubeClient, KubeError, Object
from certferry.kube.client.informer import FIRST_DELAY, LONGEST_DELAY, WATCH_SECONDS, V, malformed, without
from certferry.runtime.backoff import Backoff

PARALLEL: Final = 32
"""Number of concurrent reads."""


class NamedInformer(Generic[V]):
    """The objects of the last ``set_names``, current while ``run`` runs."""

    def __init__(
        self, client: KubeClient, kind: Kind, parse: Callable[[Object], V], changed: Callable[[], None]
    ) -> None:
        self._client = client
        self._kind = kind
        self._parse = parse
        self._changed = changed
        self._wanted: frozenset[Name] = frozenset()
        self._requested: set[Name] = set()
        self._objects: dict[Name, tuple[str, V]] = {}
        self._troubles: dict[Name, str] = {}
        self._snapshot: Mapping[Name, V] | None = None
        self.malformed: Mapping[ObjectRef, str] = MappingProxyType({})
        self._names_changed = asyncio.Event()
        self._semaphore = asyncio.Semaphore(PARALLEL)

    @property
    def synced(self) -> bool:
        """Return whether each object was requested at least once."""
        return self._wanted <= self._requested

    @property
    def trouble(self) -> str | None:
        """Return why an object is not current; None if all are. Missing permission is not an error here."""
        return next((self._troubles[name] for name in sorted(self._troubles)), None)

    @property
    def values(self) -> Mapping[Name, V]:
        """Return the current objects; the same mapping until something changes."""
        if self._snapshot is None:
            self._snapshot = MappingProxyType({name: value for name, (_, value) in self._objects.items()})
        return self._snapshot

    def get(self, name: Name) -> V | None:
        """Return the object called `name`; None if absent."""
        entry = self._objects.get(name)
        return entry[1] if entry else None

    def set_names(self, names: Iterable[Name]) -> None:
        """Keep exactly these objects current."""
        wanted = frozenset(names)
        if wanted != self._wanted:
            self._wanted = wanted
            self._names_changed.set()

    async def run(self) -> None:
        """Watch the objects until cancelled."""
        tasks: dict[Name, asyncio.Task[None]] = {}
        try:
            while True:
                for name in tasks.keys() - self._wanted:
                    tasks.pop(name).cancel()
                    self._forget(name)
                for name in self._wanted - tasks.keys():
                    tasks[name] = asyncio.get_running_loop().create_task(self._follow(name))
                await self._names_changed.wait()
                self._names_changed.clear()
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    def _forget(self, name: Name) -> None:
        self._requested.discard(name)
        self._troubles.pop(name, None)
        self._objects.pop(name, None)
        self.malformed = without(self.malformed, name)
        self._snapshot = None

    async def _follow(self, name: Name) -> None:
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        while True:
            try:
                await self._get(name)
                await self._watch(name)
                backoff.reset()
            except KubeError as error:
                self._record(name, str(error) if error.retryable and error.reason != "Cut" else None)
            await backoff.wait()

    async def _get(self, name: Name) -> None:
        try:
            async with self._semaphore:
                self._put(name, await self._client.get(self._kind, name.name, name.namespace))
        except KubeError as error:
            if error.status != 404:
                raise
            self._remove(name)
        self._record(name, None)

    async def _watch(self, name: Name) -> None:
        seconds = random.randint(*WATCH_SECONDS)  # noqa: S311 - so that watches do not all end at once
        # Without a version the watch starts with the present object, whose own version may be too old.
        async for event in self._client.watch(self._kind, "", seconds, name.namespace, f"metadata.name={name.name}"):
            if event.type in ("ADDED", "MODIFIED"):
                self._put(name, event.object)
            elif event.type == "DELETED":
                self._remove(name)

    def _put(self, name: Name, item: Object) -> None:
        version = str(item["metadata"].get("resourceVersion", ""))
        present = self._objects.get(name)
        if name not in self._wanted or (present is not None and present[0] == version):
            return
        self.malformed = without(self.malformed, name)
        try:
            value = self._parse(item)
        except Exception as error:  # noqa: BLE001 (a malformed object affects only itself; its last good version stays)
            self.malformed = {**self.malformed, **malformed(self._kind, item, error)}
            self._changed()
            return
        self._objects[name] = (version, value)
        self._snapshot = None
        self._changed()

    def _remove(self, name: Name) -> None:
        self.malformed = without(self.malformed, name)
        if self._objects.pop(name, None) is not None:
            self._snapshot = None
            self._changed()

    def _record(self, name: Name, trouble: str | None) -> None:
        requested, before = name in self._requested, self._troubles.get(name)
        self._requested.add(name)
        if trouble is None:
            self._troubles.pop(name, None)
        else:
            self._troubles[name] = trouble
        if not requested or before != trouble:
            self._changed()
