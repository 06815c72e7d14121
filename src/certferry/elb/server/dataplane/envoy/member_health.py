"""Asks Envoy again and again how the members are, while any is checked. Run by the ELB's program.

The health of a member is Envoy's finding: it is not stored, and a new Envoy begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from certferry.core.model.elb import State
from certferry.elb.server.dataplane.envoy.admin import Admin, Unanswered
from certferry.elb.server.dataplane.status import MemberKey
from certferry.elb.server.store.projection import Publication
from certferry.runtime.latest import Latest

_PERIOD: Final = 1.0
"""Seconds between two looks: the shortest period of a health check."""


class MemberHealth:
    """The last health results from Envoy."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self.members: Mapping[MemberKey, bool] = MappingProxyType({})

    async def follow(self, publications: Latest[Publication]) -> None:
        """Looks for ever, but only while there is something to see."""
        while True:
            sequence = publications.sequence
            pools = _checked(publications.value.state)
            if not pools:
                self.members = MappingProxyType({})
                await publications.after(sequence)
                continue
            await self._look(pools)
            await asyncio.sleep(_PERIOD)

    async def _look(self, pools: frozenset[str]) -> None:
        try:
            result = await self._admin.checked()
        except Unanswered:
            result = {}
        self.members = MappingProxyType({key: passes for key, passes in result.items() if key[0] in pools})


def _checked(state: State) -> frozenset[str]:
    return frozenset(
        pool.id for pool in state.pools.values() if pool.healthmonitor and pool.healthmonitor.type != "UDP_CONNECT"
    )
