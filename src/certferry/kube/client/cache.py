"""A current view of a cluster: one informer per kind, one immutable ``ClusterView``.

The scope is all namespaces or some, and all Secrets or only those that Ingresses name. No private key is kept:
the subscriber receives a Secret's pair once.
"""

from __future__ import annotations

import asyncio
import operator
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

import structlog

from certferry.core.model.claimed_since import claimed_since, restored
from certferry.core.model.kubernetes import (
    ClusterView,
    EndpointSlice,
    Ingress,
    IngressClass,
    Name,
    Node,
    ReportedStatus,
    Secret,
    Service,
    parse_class,
    parse_ingress,
    parse_node,
    parse_reported,
    parse_secret,
    parse_service,
    parse_slice,
)
from certferry.core.x509.pem import KeyPair
from certferry.kube.client import client as kinds
from certferry.kube.client.client import Kind, KubeClient, KubeError, Object
from certferry.kube.client.informer import FIRST_DELAY, LONGEST_DELAY, Informer, NamespacedInformers, Source
from certferry.kube.client.named_informer import NamedInformer
from certferry.runtime.backoff import Backoff
from certferry.runtime.latest import Latest

V = TypeVar("V")
Parsed = tuple[Ingress, ReportedStatus]


class SecretUpdate(NamedTuple):
    """A Secret as it arrived; `pair` is None if its content is unusable."""

    secret: Secret
    pair: KeyPair | None
    at: float
    """Wall-clock second at which we received its event."""


DEBOUNCE: Final = 0.005
"""Seconds for which events are collected into one view. Secret updates bypass this delay."""
NODES_TIMEOUT: Final = 5.0
"""Seconds to wait for Nodes when they are first wanted; some APIs have none."""

_log = structlog.get_logger()

Subscriber = Callable[[SecretUpdate], None]


class Scope(NamedTuple):
    """The part of a cluster that we may read."""

    namespaces: tuple[str, ...] = ()
    """Empty means all namespaces."""
    secrets: Callable[[ClusterView], Iterable[Name]] | None = None
    """Names of the Secrets to read one by one; None means list all."""


EVERYTHING: Final = Scope()


class Cache:
    """A cluster. ``view`` is None until every kind has been listed."""

    def __init__(self, client: KubeClient, subscriber: Subscriber, scope: Scope = EVERYTHING, key: bytes = b"") -> None:
        """`key`: signs the age of Ingresses; empty: an Ingress has the age of its object."""
        self._client = client
        self._subscriber = subscriber
        self._scope = scope
        self._cluster_id: str | None = None
        self._scheduled = False
        self.view: Latest[ClusterView | None] = Latest(None)
        self.trouble: Latest[str | None] = Latest(None)
        self._key = key
        self._published_from: tuple[object, ...] = ()
        self._ingresses: Source[Parsed] = self._all(kinds.INGRESS, self._ingress, lambda a, b: a[0] is b[0])
        self._classes: Source[IngressClass] = Informer(client, kinds.INGRESS_CLASS, parse_class, self._changed)
        self._services: Source[tuple[Service, ReportedStatus]] = self._all(
            kinds.SERVICE, self._service, lambda a, b: a[0] is b[0]
        )
        self._slices: Source[EndpointSlice] = self._all(kinds.ENDPOINT_SLICE, parse_slice)
        self._nodes = Informer(client, kinds.NODE, parse_node, self._changed)
        self._nodes_wanted = asyncio.Event()
        self._named = NamedInformer(client, kinds.SECRET, self._secret, self._changed)
        self._secrets: Source[Secret] = self._named if scope.secrets else self._all(kinds.SECRET, self._secret)

    def _all(self, kind: Kind, parse: Callable[[Object], V], same: Callable[[V, V], bool] = operator.eq) -> Source[V]:
        parts = [
            Informer(self._client, kind, parse, self._changed, namespace, same)
            for namespace in self._scope.namespaces or (None,)
        ]
        return NamespacedInformers(parts) if self._scope.namespaces else parts[0]

    @property
    def _informers(self) -> tuple[Source[object], ...]:
        return (self._ingresses, self._classes, self._services, self._slices, self._secrets)

    def reported(self, name: Name) -> ReportedStatus | None:
        """Return what an earlier run of ours wrote on an Ingress or Service."""
        if name.kind:
            service = self._services.get(Name(name.namespace, name.name))
            return service[1] if service else None
        pair = self._ingresses.get(name)
        return pair[1] if pair else None

    def claimed_since(self, ingress: Name) -> str | None:
        """Return the annotation with the age of an Ingress; None if it cannot be signed."""
        pair = self._ingresses.get(ingress)
        return claimed_since(pair[0], self._key) if pair and self._key else None

    def _ingress(self, item: Object) -> Parsed:
        ingress = parse_ingress(item)
        if self._key:
            ingress = restored(ingress, item, self._key)
        present = self._ingresses.get(ingress.meta.key)
        # our own report comes back as a new version of an equal Ingress, which is no news to readers of the view
        return present[0] if present and present[0] == ingress else ingress, parse_reported(item)

    def _service(self, item: Object) -> tuple[Service, ReportedStatus]:
        service = parse_service(item)
        present = self._services.get(service.meta.key)
        return present[0] if present and present[0] == service else service, parse_reported(item)

    def secret(self, name: Name) -> Secret | None:
        """Return the newest version of a Secret."""
        return self._secrets.get(name)

    async def watch_nodes(self) -> bool:
        """Include Nodes in the view from now on; return False if they did not arrive in time."""
        self._nodes_wanted.set()
        end = time.monotonic() + NODES_TIMEOUT
        while not (self._nodes.synced and self.view.value and self.view.value.nodes is not None):
            if time.monotonic() > end:
                _log.warning("nodes cannot be read; Pod addresses are used", why=self._nodes.trouble)
                return False
            await asyncio.sleep(0.02)
        return True

    async def _follow_nodes(self) -> None:
        await self._nodes_wanted.wait()
        await self._nodes.run()

    async def run(self) -> None:
        """Keep ``view`` current until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._identify())
            tasks.create_task(self._follow_nodes())
            for informer in self._informers:
                tasks.create_task(informer.run())

    async def _identify(self) -> None:
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        while self._cluster_id is None:
            try:
                namespace = await self._client.get(kinds.NAMESPACE, "kube-system")
                self._cluster_id = str(namespace["metadata"]["uid"])
            except KubeError as error:
                self.trouble.set(str(error))
                await backoff.wait()
        self._changed()

    def _secret(self, item: Object) -> Secret:
        at = time.time()
        secret, pair = parse_secret(item)
        self._subscriber(SecretUpdate(secret, pair, at))
        return secret

    def _changed(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(DEBOUNCE, self._publish)

    def _publish(self) -> None:
        self._scheduled = False
        self.trouble.set(next((i.trouble for i in self._informers if i.trouble), None))
        if self._cluster_id is None or not all(i.synced for i in self._informers):
            return
        malformed = {ref: e for i in self._informers for ref, e in i.malformed.items()}
        nodes = self._nodes.values if self._nodes.synced else None
        source = (*(i.values for i in self._informers), nodes)
        before = self.view.value
        if before and before.malformed == malformed and _identical(source, self._published_from):
            return
        view = ClusterView(
            cluster_id=self._cluster_id,
            ingresses=MappingProxyType({n: p[0] for n, p in self._ingresses.values.items()}),
            services=MappingProxyType({n: p[0] for n, p in self._services.values.items()}),
            slices=MappingProxyType(_by_service(self._slices.values)),
            secrets=self._secrets.values,
            classes=MappingProxyType({c.name: c for c in self._classes.values.values()}),
            nodes=None if nodes is None else _by_name(nodes),
            malformed=MappingProxyType(malformed),
        )
        if self._scope.secrets:
            self._named.set_names(self._scope.secrets(view))
            if not self._named.synced:
                return  # a Secret that was not requested yet is not absent
        self._published_from = source
        self.view.set(view)


def _identical(some: tuple[object, ...], others: tuple[object, ...]) -> bool:
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))


def _by_name(nodes: Mapping[Name, Node]) -> Mapping[str, Node]:
    return MappingProxyType({name.name: nodes[name] for name in sorted(nodes)})


def _by_service(slices: Mapping[Name, EndpointSlice]) -> dict[Name, tuple[EndpointSlice, ...]]:
    groups: dict[Name, list[EndpointSlice]] = {}
    for name in sorted(slices):
        part = slices[name]
        groups.setdefault(Name(part.meta.namespace, part.service), []).append(part)
    return {name: tuple(parts) for name, parts in groups.items()}
