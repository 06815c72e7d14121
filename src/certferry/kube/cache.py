"""What a cluster holds, kept current: one informer per kind, one immutable ClusterView.

The controller reads ``Cache.view`` and gives a subscriber for Secrets. Each informer lists, then
watches from there, and lists again after a 410 and compares, so that deletions in between are seen.
It refuses to forget on suspicion: an error removes nothing, and an empty answer where objects were
must stay empty for a while before it is believed. No key is kept: a Secret's pair is handed to the
subscriber once and dropped.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Generic, NamedTuple, TypeVar

import structlog

from certferry.core.objects import (
    ClusterView,
    EndpointSlice,
    Ingress,
    IngressClass,
    Name,
    Reported,
    Secret,
    Service,
    parse_class,
    parse_ingress,
    parse_reported,
    parse_secret,
    parse_service,
    parse_slice,
)
from certferry.core.pem import KeyPair
from certferry.kube import client as kinds
from certferry.kube.client import Event, Kind, KubeClient, KubeError, Object
from certferry.latest import Latest

_log = structlog.get_logger()

V = TypeVar("V")
Parsed = tuple[Ingress, Reported]

WATCH_SECONDS: Final = (300, 600)
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 5.0
LONGEST_UNREACHED: Final = 1.0
"""The same while nobody answers at all: then asking costs nobody anything."""
EMPTY_GRACE: Final = 10.0
"""Seconds that a list must stay empty, where objects were, until it is believed."""
BREATH: Final = 25
"""Objects parsed in a row before others get their turn."""


class Arrival(NamedTuple):
    """A Secret as it came in; `pair` is None when it holds nothing that can be used."""

    secret: Secret
    pair: KeyPair | None
    at: float
    """Wall-clock seconds at which its event reached us."""


Subscriber = Callable[[Arrival], None]


class _Entry(Generic[V]):
    __slots__ = ("value", "version")

    def __init__(self, version: str, value: V) -> None:
        self.version = version
        self.value = value


class Informer(Generic[V]):
    """The objects of one kind by name, current while ``run`` runs."""

    def __init__(
        self, client: KubeClient, kind: Kind, parse: Callable[[Object], V], changed: Callable[[], None]
    ) -> None:
        self._client = client
        self._kind = kind
        self._parse = parse
        self._changed = changed
        self._entries: dict[Name, _Entry[V]] = {}
        self._version: str | None = None
        self._empty_since: float | None = None
        self._snapshot: Mapping[Name, V] | None = None
        self.synced = False
        self.trouble: str | None = None
        """Why it is not current, for people; None when it is."""

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
        pause = FIRST_PAUSE
        while True:
            began, version, longest = time.monotonic(), self._version, LONGEST_PAUSE
            try:
                if self._version is None:
                    await self._list()
                await self._follow()
            except KubeError as error:
                self._failed(error, pause)
                longest = LONGEST_PAUSE if error.status else LONGEST_UNREACHED
            # An answer that brings nothing and ends at once (a 410 again and again) must not spin.
            moved = version is not None and self._version not in (None, version)
            if moved or time.monotonic() - began > 1:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    def _failed(self, error: KubeError, pause: float) -> None:
        if error.gone:
            self._version = None
        # a watch that is cut once is resumed at once: that is no trouble yet
        elif error.reason != "Cut" or pause > 4 * FIRST_PAUSE:
            self._report(str(error))

    def _report(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._changed()

    async def _list(self) -> None:
        listing = await self._client.listing(self._kind)
        self._believe(len(listing.items))
        seen = set()
        for number, item in enumerate(listing.items, start=1):
            seen.add(self._put(item))
            if number % BREATH == 0:
                await asyncio.sleep(0)
        for name in self._entries.keys() - seen:
            del self._entries[name]
            self._snapshot = None
        self._version = listing.version
        self.synced = True
        self.trouble = None
        self._changed()

    def _believe(self, count: int) -> None:
        if count or not self._entries:
            self._empty_since = None
            return
        now = time.monotonic()
        self._empty_since = self._empty_since or now
        if now - self._empty_since < EMPTY_GRACE:
            known = len(self._entries)
            raise KubeError(0, "Empty", f"no {self._kind.plural} listed where {known} were; they are kept")

    async def _follow(self) -> None:
        assert self._version is not None
        seconds = random.randint(*WATCH_SECONDS)  # noqa: S311 - so that watches do not all end at once
        async for event in self._client.watch(self._kind, self._version, seconds):
            self._report(None)
            self._take(event)
        self._report(None)

    def _take(self, event: Event) -> None:
        if event.type != "BOOKMARK":
            if event.type == "DELETED":
                self._entries.pop(_name(event.object), None)
                self._snapshot = None
            else:
                self._put(event.object)
            self._changed()
        self._version = str(event.object["metadata"]["resourceVersion"])

    def _put(self, item: Object) -> Name:
        name, version = _name(item), str(item["metadata"].get("resourceVersion", ""))
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


class Cache:
    """A cluster. ``view`` is None until every kind has been listed."""

    def __init__(self, client: KubeClient, subscriber: Subscriber) -> None:
        self._client = client
        self._subscriber = subscriber
        self._cluster_id: str | None = None
        self._scheduled = False
        self.view: Latest[ClusterView | None] = Latest(None)
        self.trouble: Latest[str | None] = Latest(None)
        self._ingresses: Informer[Parsed] = Informer(client, kinds.INGRESS, _ingress, self._changed)
        self._classes: Informer[IngressClass] = Informer(
            client, kinds.INGRESS_CLASS, parse_class, self._changed
        )
        self._services: Informer[Service] = Informer(client, kinds.SERVICE, parse_service, self._changed)
        self._slices: Informer[EndpointSlice] = Informer(
            client, kinds.ENDPOINT_SLICE, parse_slice, self._changed
        )
        self._secrets: Informer[Secret] = Informer(client, kinds.SECRET, self._secret, self._changed)

    @property
    def _informers(
        self,
    ) -> tuple[
        Informer[Parsed]
        | Informer[IngressClass]
        | Informer[Service]
        | Informer[EndpointSlice]
        | Informer[Secret],
        ...,
    ]:
        return (self._ingresses, self._classes, self._services, self._slices, self._secrets)

    def reported(self, ingress: Name) -> Reported | None:
        """What stands on an Ingress of what we write there."""
        pair = self._ingresses.get(ingress)
        return pair[1] if pair else None

    def secret(self, name: Name) -> Secret | None:
        """The newest known facts of a Secret."""
        return self._secrets.get(name)

    async def run(self) -> None:
        """Keep ``view`` current until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._identify())
            for informer in self._informers:
                tasks.create_task(informer.run())

    async def _identify(self) -> None:
        pause = FIRST_PAUSE
        while self._cluster_id is None:
            try:
                namespace = await self._client.get(kinds.NAMESPACE, "kube-system")
                self._cluster_id = str(namespace["metadata"]["uid"])
            except KubeError as error:
                self.trouble.set(str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        self._changed()

    def _secret(self, item: Object) -> Secret:
        at = time.time()
        secret, pair = parse_secret(item)
        self._subscriber(Arrival(secret, pair, at))
        return secret

    def _changed(self) -> None:
        # a burst of events that arrived together makes one view
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._publish)

    def _publish(self) -> None:
        self._scheduled = False
        self.trouble.set(next((i.trouble for i in self._informers if i.trouble), None))
        if self._cluster_id is None or not all(i.synced for i in self._informers):
            return
        self.view.set(
            ClusterView(
                cluster_id=self._cluster_id,
                ingresses=MappingProxyType({n: p[0] for n, p in self._ingresses.values.items()}),
                services=self._services.values,
                slices=MappingProxyType(_by_service(self._slices.values)),
                secrets=self._secrets.values,
                classes=MappingProxyType({c.name: c for c in self._classes.values.values()}),
            )
        )


def _ingress(item: Object) -> Parsed:
    return parse_ingress(item), parse_reported(item)


def _by_service(slices: Mapping[Name, EndpointSlice]) -> dict[Name, tuple[EndpointSlice, ...]]:
    groups: dict[Name, list[EndpointSlice]] = {}
    for name in sorted(slices):
        part = slices[name]
        groups.setdefault(Name(part.meta.namespace, part.service), []).append(part)
    return {name: tuple(parts) for name, parts in groups.items()}


def _name(item: Object) -> Name:
    meta = item["metadata"]
    return Name(meta.get("namespace") or "", meta["name"])
