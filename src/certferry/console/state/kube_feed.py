"""What a cluster holds, kept current for the pages while somebody looks.

One feed per cluster and role, shared by everybody who has the role: it reads with the role's
credential. A reader's feed does not watch Secrets at all, so none is ever in its memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from certferry.console.state import objects as things
from certferry.console.state.objects import (
    ListedConfigMap,
    ListedIngress,
    ListedObject,
    ListedSecret,
    ListedService,
)
from certferry.core.model.kubernetes import ClusterView, IngressClass, Name, parse_class
from certferry.kube.client import client as kinds
from certferry.kube.client.client import KubeClient, KubeError
from certferry.kube.client.informer import Informer
from certferry.runtime.latest import Latest

RETRY = 1.0
"""Seconds until an answer that did not come is asked for again."""


class KubeFeed:
    """One cluster through one credential; `run` keeps it current."""

    def __init__(self, client: KubeClient, *, secrets: bool) -> None:
        self.client = client
        self.changed: Latest[int] = Latest(0)
        self.version = ""
        self.cluster_id: str | None = None
        self._trouble: str | None = None
        self.reads_secrets = secrets
        self._scheduled = False
        self._view: tuple[tuple[Any, ...], ClusterView] | None = None
        self._ingresses: Informer[ListedIngress] = Informer(
            client, kinds.INGRESS, things.ingress, self._stirred
        )
        self._services: Informer[ListedService] = Informer(
            client, kinds.SERVICE, things.service, self._stirred
        )
        self._config_maps: Informer[ListedConfigMap] = Informer(
            client, kinds.CONFIG_MAP, things.config_map, self._stirred
        )
        self._namespaces: Informer[ListedObject] = Informer(
            client, kinds.NAMESPACE, things.namespace, self._stirred
        )
        self._classes: Informer[IngressClass] = Informer(
            client, kinds.INGRESS_CLASS, parse_class, self._stirred
        )
        self._secrets: Informer[ListedSecret] = Informer(client, kinds.SECRET, things.secret, self._stirred)

    @property
    def ingresses(self) -> Mapping[Name, ListedIngress]:
        """By name; the same mapping as long as nothing changes."""
        return self._ingresses.values

    @property
    def services(self) -> Mapping[Name, ListedService]:
        """By name."""
        return self._services.values

    @property
    def config_maps(self) -> Mapping[Name, ListedConfigMap]:
        """By name."""
        return self._config_maps.values

    @property
    def secrets(self) -> Mapping[Name, ListedSecret]:
        """By name; none for a reader."""
        return self._secrets.values

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Their names, sorted."""
        return tuple(sorted(name.name for name in self._namespaces.values))

    @property
    def ready(self) -> bool:
        """Whether everything was listed once."""
        return self.cluster_id is not None and all(i.synced for i in self._informers)

    @property
    def trouble(self) -> str | None:
        """Why it is not current, for people; None when it is."""
        return next((i.trouble for i in self._informers if i.trouble), None) or self._trouble

    @property
    def view(self) -> ClusterView:
        """For the core: without endpoints, which decide nothing about certificates."""
        ingresses, secrets, classes = self.ingresses, self.secrets, self._classes.values
        services = self.services
        mark = (ingresses, secrets, classes, services)
        if self._view is None or any(a is not b for a, b in zip(self._view[0], mark, strict=True)):
            view = ClusterView(
                cluster_id=self.cluster_id or "",
                ingresses=MappingProxyType({name: t.ingress for name, t in ingresses.items()}),
                services=MappingProxyType({name: t.service for name, t in services.items()}),
                secrets=MappingProxyType({name: t.secret for name, t in secrets.items()}),
                classes=MappingProxyType({c.name: c for c in classes.values()}),
            )
            self._view = (mark, view)
        return self._view[1]

    @property
    def _informers(self) -> tuple[Informer[Any], ...]:
        always = (self._ingresses, self._services, self._config_maps, self._namespaces, self._classes)
        return (*always, self._secrets) if self.reads_secrets else always

    async def run(self) -> None:
        """Keep it current until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._identify())
            for informer in self._informers:
                tasks.create_task(informer.run())

    async def until_ready(self, seconds: float) -> bool:
        """Whether it is ready within `seconds`; ends early when it cannot be."""
        await self.changed.until(lambda: self.ready or self.trouble is not None, seconds)
        return self.ready

    async def _identify(self) -> None:
        while self.cluster_id is None:
            try:
                self.version = await self.client.version()
                namespace = await self.client.get(kinds.NAMESPACE, "kube-system")
                self.cluster_id = str(namespace["metadata"]["uid"])
                self._trouble = None
            except KubeError as error:
                self._trouble = str(error)
                self._stirred()
                await asyncio.sleep(RETRY)
        self._stirred()

    def _stirred(self) -> None:
        # a burst of events that arrived together is one change
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._publish)

    def _publish(self) -> None:
        self._scheduled = False
        self.changed.set(self.changed.value + 1)
