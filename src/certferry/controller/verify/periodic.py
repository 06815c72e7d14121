"""Looking at everything that is served again and again, though nothing changed.

Somebody may have changed the load balancer, a firewall, or a part that we know nothing of; and the
system's own certificates expire too. The controller runs it beside its rhythm; ``watchman`` is told
what was seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from certferry.controller.verify.rotation import Proof, Seat
from certferry.core.diagnosis.alert_rules import Unserved
from certferry.core.diagnosis.inventory import Watched, own
from certferry.core.x509.pem import Defect, parse_shown
from certferry.runtime.tls_probe import Astray, Broken, Served, Sight, Target, Unreachable, Wrong, handshake

GAP: Final = 0.02
"""Seconds between two handshakes: a thousand hosts take twenty seconds, and nobody notices."""

SELDOM: Final = 10
"""Rounds from one look at our own certificates to the next: nobody changes them behind our back, and a door
for guests alone logs each look."""

Seen = Callable[[Mapping[Target, Unserved], tuple[Watched, ...]], None]

_log = structlog.get_logger()


class Patrol:
    """Rounds, one after the other. `mine`: (what it is, host:port) of each certificate of our own."""

    def __init__(self, proof: Proof, seen: Seen, every: float, mine: tuple[tuple[str, str], ...]) -> None:
        self._proof = proof
        self._seen = seen
        self._every = every
        self._mine = mine
        self._rounds = 0
        self._own: dict[str, Watched] = {}
        """As it was last seen, by place: one that does not answer now expires all the same."""

    async def run(self) -> None:
        """Until cancelled."""
        while self._every:
            await self.round()
            await asyncio.sleep(self._every)

    async def round(self) -> None:
        """Look at each place once, and again at what was not as it should be."""
        bad = await self._unserved(self._proof.expected)
        if bad:
            # a change may be on its way
            await asyncio.sleep(self._proof.deadline)
            bad = await self._unserved(bad)
        mine = self._mine if self._rounds % SELDOM == 0 else ()
        self._rounds += 1
        for what, where in mine:
            if found := await _own(what, where):
                self._own[where] = found
        self._seen(bad, tuple(self._own.values()))

    async def _unserved(self, places: Iterable[Target]) -> Mapping[Target, Unserved]:
        found: dict[Target, Unserved] = {}
        closed: dict[tuple[str, int], Unreachable] = {}
        for target in sorted(places):
            if (seat := self._proof.expected.get(target)) is None:
                continue
            # nobody there for one host is nobody for the others: a thousand of them are not waited for
            sight = closed.get((target.address, target.port)) or await self._proof.look(seat)
            if isinstance(sight, Unreachable):
                closed[target.address, target.port] = sight
            if not isinstance(sight, Served) and self._proof.expects(target, seat.chain):
                found[target] = unserved(seat, sight)
            await asyncio.sleep(GAP)
        return found


def unserved(seat: Seat, sight: Sight) -> Unserved:
    """A place that does not show what it should, in words."""
    target = seat.target
    match sight:
        case Unreachable():
            why = f"nobody answers there ({sight.why})"
        case Wrong():
            why = f"another certificate is shown ({sight.fingerprint[:16]})"
        case Astray():
            why = f"the right certificate is shown, but {sight.why}"
        case Broken():
            why = sight.why
        case Served():
            why = "it is shown again"
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
        shown = parse_shown(
            await handshake(Target(address=host.strip("[]"), port=int(port), host=host.strip("[]")))
        )
    except (OSError, TimeoutError, Defect) as error:
        _log.debug("own certificate not seen", what=what, where=where, why=str(error))
        return None
    return own(where, what, shown)
