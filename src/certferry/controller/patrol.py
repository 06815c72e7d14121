"""Looking at everything that is served again and again, though nothing changed.

Somebody may have changed the load balancer, a firewall, or a part that we know nothing of; and the
system's own certificates expire too. The controller runs it beside its rhythm; ``watchman`` is told
what was seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from certferry.controller.probe import NotReached, Served, Sight, Target, Unreachable, Wrong, handshake
from certferry.controller.proof import Proof, Seat
from certferry.core.alarms import Unserved
from certferry.core.pem import parse_der_leaf
from certferry.core.watched import Watched, own

GAP: Final = 0.02
"""Seconds between two handshakes: a thousand hosts take twenty seconds, and nobody notices."""

Seen = Callable[[Mapping[Target, Unserved], tuple[Watched, ...]], None]

_log = structlog.get_logger()


class Patrol:
    """Rounds, one after the other."""

    def __init__(self, proof: Proof, seen: Seen, every: float, mine: tuple[tuple[str, str], ...]) -> None:
        self._proof = proof
        self._seen = seen
        self._every = every
        self._mine = mine

    async def run(self) -> None:
        """Until cancelled."""
        while self._every:
            await self.round()
            await asyncio.sleep(self._every)

    async def round(self) -> None:
        """Look at each place once."""
        bad: dict[Target, Unserved] = {}
        for target, seat in sorted(self._proof.expected.items()):
            sight = await self._proof.look(seat)
            now = self._proof.expected.get(target)
            if now is not None and now.fingerprint == seat.fingerprint and not isinstance(sight, Served):
                bad[target] = unserved(seat, sight)
            await asyncio.sleep(GAP)
        self._seen(bad, tuple([w for what, where in self._mine if (w := await _own(what, where))]))


def unserved(seat: Seat, sight: Sight) -> Unserved:
    """A place that does not show what it should, in words."""
    target = seat.target
    if isinstance(sight, Unreachable):
        why = f"nobody answers there ({sight.why})"
    elif isinstance(sight, Wrong):
        why = f"another certificate is shown ({sight.fingerprint[:16]})"
    else:
        why = getattr(sight, "why", "no reason given")
    return Unserved(
        certificate=seat.certificate,
        where=f"{target.address}:{target.port}",
        host=target.host,
        reachable=not isinstance(sight, Unreachable),
        why=why,
    )


async def _own(what: str, where: str) -> Watched | None:
    host, _, port = where.rpartition(":")
    try:
        leaf = await handshake(Target(address=host.strip("[]"), port=int(port), host=host.strip("[]")))
    except (NotReached, OSError, TimeoutError) as error:
        _log.debug("own certificate not seen", what=what, where=where, why=str(error))
        return None
    return own(where, what, parse_der_leaf(leaf))
