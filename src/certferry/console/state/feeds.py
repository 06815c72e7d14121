"""Which feeds run: started when a page asks for them, ended when nobody has for a while.

``app`` has one ``Feeds``. It knows whose credential each feed may use: a cluster's by role, an ELB's
by session.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final, Generic, TypeVar

from certferry.clusters import ClusterAccess
from certferry.clusters.cluster import Role
from certferry.console.state.elb_feed import ElbFeed
from certferry.console.state.elb_sites import ElbLogin, ElbSite
from certferry.console.state.kube_feed import KubeFeed
from certferry.console.state.probes import ProbeCache
from certferry.console.state.sessions import Session
from certferry.settings import UserError

F = TypeVar("F")

IDLE: Final = 600.0
"""Seconds after which a feed that nobody asks for ends."""
SWEEP: Final = 30.0


class FeedPool(Generic[F]):
    """Feeds of one sort by key, each with the task that runs it."""

    def __init__(self) -> None:
        self._running: dict[Hashable, tuple[F, asyncio.Task[None]]] = {}
        self._used: dict[Hashable, float] = {}

    def get(self, key: Hashable, make: Callable[[], tuple[F, Coroutine[Any, Any, None]]]) -> F:
        """The feed under `key`, made and started when there is none that runs."""
        self._used[key] = time.monotonic()
        present = self._running.get(key)
        if present is None or present[1].done():
            feed, work = make()
            present = feed, asyncio.get_running_loop().create_task(work)
            self._running[key] = present
        return present[0]

    async def end(self, unwanted: Callable[[Hashable], bool]) -> None:
        """End those whose key is unwanted."""
        keys = [key for key in self._running if unwanted(key)]
        tasks = [self._running.pop(key)[1] for key in keys]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def sweep(self) -> None:
        """End what nobody asked for lately."""
        now = time.monotonic()
        await self.end(lambda key: now - self._used.get(key, 0.0) > IDLE)


class Feeds:
    """All feeds."""

    def __init__(self) -> None:
        self.sights = ProbeCache()
        self._kube: FeedPool[KubeFeed] = FeedPool()
        self._elb: FeedPool[ElbFeed] = FeedPool()

    def kube(self, cluster: ClusterAccess, role: Role) -> KubeFeed:
        """Of `cluster`, as `role` may see it. Raises ``Refused`` and ``KubeconfigError``."""
        check_entry(cluster, role)

        def make() -> tuple[KubeFeed, Coroutine[Any, Any, None]]:
            client = cluster.kube(role)
            feed = KubeFeed(client, secrets=role != "reader")

            async def work() -> None:
                async with client:
                    await feed.run()

            return feed, work()

        return self._kube.get((cluster.name, role), make)

    def elb(self, session: Session, site: ElbSite, login: ElbLogin) -> ElbFeed:
        """Of `site`, as the person of `login` may see it."""

        def make() -> tuple[ElbFeed, Coroutine[Any, Any, None]]:
            client = site.client(login)
            feed = ElbFeed(client)

            async def work() -> None:
                async with client:
                    await feed.run()

            return feed, work()

        return self._elb.get((session.id, site.key, login.credentials.token), make)

    async def forget(self, session: Session) -> None:
        """Its person logged out."""
        await self._elb.end(lambda key: isinstance(key, tuple) and key[0] == session.id)

    async def run(self) -> None:
        """End idle feeds, until cancelled; then end all."""
        try:
            while True:
                await asyncio.sleep(SWEEP)
                await self._kube.sweep()
                await self._elb.sweep()
        finally:
            await self._kube.end(lambda key: True)
            await self._elb.end(lambda key: True)
            await self.sights.close()


def check_entry(cluster: ClusterAccess, role: Role) -> None:
    """Raises ``Refused`` when the settings give `role` no way in. The cluster's own credential is for admins."""
    if role not in cluster.roles and (cluster.roles or role != "admin"):
        raise UserError(
            f"Your role on the ELB is {role}, and the settings give that role no access to cluster "
            f"“{cluster.name}” (clusters: … roles: {role})."
        )
