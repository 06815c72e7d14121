"""The running feeds: started when a page asks for one, ended when idle.

A cluster's feed uses the credential of a role, an ELB's feed the token of a session.
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
"""Seconds after which an unused feed ends."""
SWEEP: Final = 30.0
"""Seconds between two searches for unused feeds."""


class FeedPool(Generic[F]):
    """Feeds of one kind by key, each with the task that runs it."""

    def __init__(self) -> None:
        self._running: dict[Hashable, tuple[F, asyncio.Task[None]]] = {}
        self._used: dict[Hashable, float] = {}

    def get(self, key: Hashable, make: Callable[[], tuple[F, Coroutine[Any, Any, None]]]) -> F:
        """Return the feed under `key`; make and start it if none runs."""
        self._used[key] = time.monotonic()
        present = self._running.get(key)
        if present is None or present[1].done():
            feed, work = make()
            present = feed, asyncio.get_running_loop().create_task(work)
            self._running[key] = present
        return present[0]

    async def end(self, unwanted: Callable[[Hashable], bool]) -> None:
        """End the feeds whose key is `unwanted`."""
        keys = [key for key in self._running if unwanted(key)]
        tasks = [self._running.pop(key)[1] for key in keys]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def sweep(self) -> None:
        """End the feeds that were unused for ``IDLE`` seconds."""
        now = time.monotonic()
        await self.end(lambda key: now - self._used.get(key, 0.0) > IDLE)


class Feeds:
    """The feeds of all clusters and ELBs, and the probe results that pages share."""

    def __init__(self) -> None:
        self.probes = ProbeCache()
        self._kube: FeedPool[KubeFeed] = FeedPool()
        self._elb: FeedPool[ElbFeed] = FeedPool()

    def kube(self, cluster: ClusterAccess, role: Role) -> KubeFeed:
        """Return the feed of a cluster as `role` may see it. Raises ``UserError`` and ``KubeconfigError``."""
        check_access(cluster, role)

        def make() -> tuple[KubeFeed, Coroutine[Any, Any, None]]:
            client = cluster.kube(role)
            feed = KubeFeed(client, secrets=role != "reader")

            async def work() -> None:
                async with client:
                    await feed.run()

            return feed, work()

        return self._kube.get((cluster.name, role), make)

    def elb(self, session: Session, site: ElbSite, login: ElbLogin) -> ElbFeed:
        """Return the feed of an ELB as the user of `login` may see it."""

        def make() -> tuple[ElbFeed, Coroutine[Any, Any, None]]:
            client = site.client(login)
            feed = ElbFeed(client)

            async def work() -> None:
                async with client:
                    await feed.run()

            return feed, work()

        return self._elb.get((session.id, site.key, login.credentials.token), make)

    async def forget(self, session: Session) -> None:
        """End the feeds of a session that has ended."""
        await self._elb.end(lambda key: isinstance(key, tuple) and key[0] == session.id)

    async def run(self) -> None:
        """End unused feeds until cancelled; then end all."""
        try:
            while True:
                await asyncio.sleep(SWEEP)
                await self._kube.sweep()
                await self._elb.sweep()
        finally:
            await self._kube.end(lambda key: True)
            await self._elb.end(lambda key: True)
            await self.probes.close()


def check_access(cluster: ClusterAccess, role: Role) -> None:
    """Raise ``UserError`` if the settings give `role` no access. The cluster's own credential is for admins."""
    if role not in cluster.roles and (cluster.roles or role != "admin"):
        raise UserError(
            f"Your role on the ELB is {role}, and the settings give that role no access to cluster "
            f"“{cluster.name}” (clusters: … roles: {role})."
        )
