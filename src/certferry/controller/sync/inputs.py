"""The gather step: reads the cluster and the ELB and translates them into a generation.

The ELB is read only if another client may have changed it.
"""

from __future__ import annotations

import time
from typing import Final

from certferry.controller.sync.connection_state import ConnectionState
from certferry.controller.sync.generation import Generation
from certferry.controller.sync.isolated_translation import IsolatedTranslation
from certferry.controller.sync.observed_state import ObservedState
from certferry.controller.sync.rejected_contents import RejectedContents
from certferry.core.model.problems import Problem
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbClient
from certferry.elb.client.observe import observe
from certferry.kube.client.cache import Cache

_NOT_FOUND: Final = ("CertificateNotFound", "LoadBalancerNotFound")


class InputReader:
    """Reads the newest inputs of a reconcile; the ELB only after ``invalidate`` or before the first time."""

    def __init__(
        self,
        elb: ElbClient,
        cache: Cache,
        observed: ObservedState,
        translations: IsolatedTranslation,
        connection: ConnectionState,
    ) -> None:
        self._elb = elb
        self._cache = cache
        self._observed = observed
        self._translations = translations
        self._connection = connection
        self._missing: frozenset[Problem] = frozenset()
        self.rejected = RejectedContents()
        self._nodes_asked = False
        self._observed_at = 0.0
        self._stale = True
        self.locks: bool | None = None
        """True if the ELB locks managed certificates; None before the first request."""

    @property
    def age(self) -> float:
        """Seconds since the ELB was read."""
        return time.monotonic() - self._observed_at

    def invalidate(self) -> None:
        """Read the ELB before the next reconcile, because another client may have changed it."""
        self._stale = True

    async def read(self) -> Generation:
        """Return the newest generation. Raises ElbError."""
        if self._stale or self._observed.state is None:
            await self._observe()
        generation = await self._translate()
        if generation.translation.needs_nodes and generation.view.nodes is None and not self._nodes_asked:
            self._nodes_asked = True
            if await self._cache.watch_nodes():
                generation = await self._translate()
        missing = frozenset(p for p in generation.translation.problems if p.reason in _NOT_FOUND)
        if missing - self._missing:
            # an object that an Ingress names may have been created on the ELB since the last observation
            await self._observe()
            generation = await self._translate()
        self._missing = missing
        return generation

    async def _observe(self) -> None:
        if self.locks is None:
            self.locks = bool(await extensions.available(self._elb))
        begun = self._observed.begin()
        self._stale = False  # before the read: it may lack a change that is reported meanwhile
        self._observed.observed(await observe(self._elb), begun)
        self._observed_at = time.monotonic()
        self._connection.set(None)

    async def _translate(self) -> Generation:
        view, state = self._cache.view.value, self._observed.state
        assert view is not None
        assert state is not None
        # a write of the fast path in between supersedes the step of the plan (``apply``)
        return Generation(cluster=await self._translations.derive(self.rejected.without(view), state))
