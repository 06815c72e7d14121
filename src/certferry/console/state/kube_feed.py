"""Objects of a cluster, kept current while pages show them.

One feed per cluster and role, shared by all users with that role; it reads with the role's credential. A
reader's feed does not watch Secrets, so none is ever in its memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from certferry.console.state import objects as listed
from certferry.console.state.objects import ListedConfigMap, ListedIngress, ListedObject, ListedSecret, ListedService
from certferry.core.model.kubernetes import ClusterView, IngressClass, Name, parse_class
from certferry.kube.client import client as kinds
from certferry.kube.client.client import KubeClient, KubeError
from certferry.kube.client.informer import Informer
from certferry.runtime.latest import Latest

RETRY = 1.0
"""Seconds between two attempts to identify the cluster."""


class KubeFeed:
    """One cluster through one credential; `run` keeps it current."""

    def __init__(self, client: KubeClient, *, secrets: bool) -> None:
        self.client = client
        self.changed: Latest[int] = Latest(0)
        self.version = ""
        self.cluster_id: str | None = None
        self._error: str | None = None
        self.reads_secrets = secrets
        self._scheduled = False
        self._view: tuple[tuple[Any, ...], ClusterView] | None = None
        self._ingresses: Informer[ListedIngress] = Informer(
            client, kinds.INGRESS, listed.ingress, self._schedule_publish
        )
        self._services: Informer[ListedService] = Informer(
            client, kinds.SERVICE, listed.service, self._schedule_publish
        )
        self._config_maps: Informer[ListedConfigMap] = Informer(
            client, kinds.CONFIG_MAP, listed.config_map, self._schedule_publish
        )
        self._namespaces: Informer[ListedObject] = Informer(
            client, kinds.NAMESPACE, listed.namespace, self._schedule_publish
        )
        self._classes: Informer[IngressClass] = Informer(
            client, kinds.INGRESS_CLASS, parse_class, self._schedule_publish
        )
        self._secrets: Informer[ListedSecret] = Informer(client, kinds.SECRET, listed.secret, self._schedule_publish)

    @property
    def ingresses(self) -> Mapping[Name, ListedIngress]:
        """Ingresses by name; the same mapping object until one changes."""
        return self._ingresses.values

    @property
    def services(self) -> Mapping[Name, ListedService]:
        """Services by name."""
        return self._services.values

    @property
    def config_maps(self) -> Mapping[Name, ListedConfigMap]:
        """ConfigMaps by name."""
        return self._config_maps.values

    @property
    def secrets(self) -> Mapping[Name, ListedSecret]:
        """Secrets by name; empty for a reader."""
        return self._secrets.values

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Names of the namespaces, sorted."""
        return tuple(sorted(name.name for name in self._namespaces.values))

    @property
    def ready(self) -> bool:
        """True once every kind was listed."""
        return self.cluster_id is not None and all(i.synced for i in self._informers)

    @property
    def error(self) -> str | None:
        """The reason that the objects may be out of date; None if they are current."""
        return next((i.trouble for i in self._informers if i.trouble), None) or self._error

    @property
    def view(self) -> ClusterView:
        """The objects as the core reads them, without endpoints, which do not matter for certificates."""
        ingresses, secrets, classes = self.ingresses, self.secrets, self._classes.values
        services = self.services
        key = (ingresses, secrets, classes, services)
        if self._view is None or any(a is not b for a, b in zip(self._view[0], key, strict=True)):
            view = ClusterView(
                cluster_id=self.cluster_id or "",
                ingresses=MappingProxyType({name: t.parsed for name, t in ingresses.items()}),
                services=MappingProxyType({name: t.parsed for name, t in services.items()}),
                secrets=MappingProxyType({name: t.parsed for name, t in secrets.items()}),
                classes=MappingProxyType({c.name: c for c in classes.values()}),
            )
            self._view = (key, view)
        return self._view[1]

    @property
    def _informers(self) -> tuple[Informer[Any], ...]:
        always = (self._ingresses, self._services, self._config_maps, self._namespaces, self._classes)
        return (*always, self._secrets) if self.reads_secrets else always

    async def run(self) -> None:
        """Keep the objects current until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._identify())
            for informer in self._informers:
                tasks.create_task(informer.run())

    async def until_ready(self, seconds: float) -> bool:
        """Wait until all is read, an error occurs or `seconds` have passed; return whether all is read."""
        await self.changed.until(lambda: self.ready or self.error is not None, seconds)
        return self.ready

    async def _identify(self) -> None:
        while self.cluster_id is None:
            try:
                self.version = await self.client.version()
                namespace = await self.client.get(kinds.NAMESPACE, "kube-system")
                self.cluster_id = str(namespace["metadata"]["uid"])
                self._error = None
            except KubeError as error:
                self._error = str(error)
                self._schedule_publish()
                await asyncio.sleep(RETRY)
        self._schedule_publish()

    def _schedule_publish(self) -> None:
        # events that arrive together are one change
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._publish)

    def _publish(self) -> None:
        self._scheduled = False
        self.changed.set(self.changed.value + 1)
