"""What a reconcile starts from: the cluster, the ELB, and what follows from both.

The ELB is read only when what we know may be stale. ``reconcile`` asks; it decides nothing.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Final, NamedTuple

from certferry.controller.sync.connection_state import ConnectionState
from certferry.controller.sync.observed_state import ObservedState
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import ClusterView
from certferry.core.model.problems import Problem
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import Translation, translate
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbClient
from certferry.elb.client.observe import observe
from certferry.kube.client.cache import Cache

_NOT_FOUND: Final = ("CertificateNotFound", "LoadBalancerNotFound")


class ReconcileInput(NamedTuple):
    """One moment of both worlds."""

    view: ClusterView
    state: State
    translation: Translation


class InputReader:
    """Set ``stale`` when others may have changed the ELB."""

    def __init__(
        self,
        elb: ElbClient,
        cache: Cache,
        world: ObservedState,
        options: TranslateOptions,
        balancer: ConnectionState,
    ) -> None:
        self._elb = elb
        self._cache = cache
        self._world = world
        self._options = options
        self._balancer = balancer
        self._missing: frozenset[Problem] = frozenset()
        self._nodes_asked = False
        self._observed_at = 0.0
        self.stale = True
        self.locks: bool | None = None
        """Whether the ELB has our lock; None: not asked yet."""

    @property
    def age(self) -> float:
        """Seconds since the ELB was read."""
        return time.monotonic() - self._observed_at

    async def picture(self) -> ReconcileInput:
        """The newest one. Raises ``ElbError``."""
        if self.stale or self._world.state is None:
            await self._observe()
        found = await self._translate()
        if found.translation.needs_nodes and found.view.nodes is None and not self._nodes_asked:
            self._nodes_asked = True
            if await self._cache.watch_nodes():
                found = await self._translate()
        missing = frozenset(p for p in found.translation.problems if p.reason in _NOT_FOUND)
        if missing - self._missing:
            # what an Ingress names may have been made on the ELB since we last looked
            await self._observe()
            found = await self._translate()
        self._missing = missing
        return found

    async def _observe(self) -> None:
        if self.locks is None:
            self.locks = bool(await extensions.available(self._elb))
        begun = self._world.begin()
        self.stale = False  # before: what is told of while we read may not be in what we read
        self._world.observed(await observe(self._elb), begun)
        self._observed_at = time.monotonic()
        self._balancer.set(None)

    async def _translate(self) -> ReconcileInput:
        view, state = self._cache.view.value, self._world.state
        assert view is not None
        assert state is not None
        # In a thread, on values that nobody changes: a rotation need not wait until a thousand Ingresses
        # are translated. What it writes meanwhile is seen by ``apply``, which then steps back.
        translation = await asyncio.to_thread(translate, view, state, self._options, datetime.now(UTC))
        return ReconcileInput(view, state, translation)
