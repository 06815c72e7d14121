"""Questions to the admin interface of the Envoy beside us. Used by ``envoy`` and ``members``."""

from __future__ import annotations

import re
from typing import Final

import aiohttp

from certferry.elb.server.dataplane.status import MemberKey

Unanswered = (aiohttp.ClientError, OSError, TimeoutError)
"""The errors of a request that Envoy does not answer."""

_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_HEALTH: Final = re.compile(r"(.+)::(.+):(\d+)::health_flags::(.+)")
_ACTIVE: Final = re.compile(r"http\..*\.downstream_rq_active: (\d+)")


class Admin:
    """Envoy's admin interface on a Unix socket."""

    def __init__(self, socket: str) -> None:
        self._socket = socket

    async def ask(self, path: str, method: str = "GET") -> str:
        """Send a request and return the answer. Raises one of UNANSWERED."""
        connector = aiohttp.UnixConnector(self._socket)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session,
            session.request(method, f"http://envoy{path}") as answer,
        ):
            return await answer.text()

    async def answers(self) -> bool:
        """Return True if Envoy answers."""
        try:
            await self.ask("/ready")
        except Unanswered:
            return False
        return True

    async def serves(self) -> bool:
        """Return True if Envoy has its first configuration and accepts connections."""
        try:
            return (await self.ask("/ready")).strip() == "LIVE"
        except Unanswered:
            return False

    async def checked(self) -> dict[MemberKey, bool]:
        """Return the health of each member, except those whose first check is pending."""
        result = {}
        for line in (await self.ask("/clusters")).splitlines():
            if (row := _HEALTH.fullmatch(line)) is not None:
                pool, address, port, flags = row.groups()
                if "pending_active_hc" not in flags:
                    result[pool, address.strip("[]"), int(port)] = "failed_active_hc" not in flags
        return result

    async def requests(self) -> int:
        """Requests under way on all listeners."""
        text = await self.ask("/stats?filter=" + r"^http\..*\.downstream_rq_active$")
        return sum(int(m[1]) for m in map(_ACTIVE.fullmatch, text.splitlines()) if m and ".admin." not in m[0])
