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

from certferry.controller.verify.rotation import ExpectedCertificate, RotationVerifier
from certferry.core.diagnosis.alert_rules import ProbeMismatch
from certferry.core.diagnosis.inventory import CertificateInfo, own
from certferry.core.x509.pem import InvalidPem, parse_shown
from certferry.runtime.tls_probe import (
    HandshakeFailed,
    ProbeResult,
    Served,
    Target,
    Unreachable,
    WrongCertificate,
    WrongChain,
    handshake,
)

GAP: Final = 0.02
"""Seconds between two handshakes: a thousand hosts take twenty seconds, and nobody notices."""

SELDOM: Final = 10
"""Rounds from one look at our own certificates to the next: nobody changes them behind our back, and a door
for guests alone logs each look."""

Seen = Callable[[Mapping[Target, ProbeMismatch], tuple[CertificateInfo, ...]], None]

_log = structlog.get_logger()


class PeriodicProber:
    """Rounds, one after the other. `own_endpoints`: (what it is, host:port) of each certificate of our own."""

    def __init__(
        self, proof: RotationVerifier, seen: Seen, every: float, own_endpoints: tuple[tuple[str, str], ...]
    ) -> None:
        self._proof = proof
        self._seen = seen
        self._every = every
        self._own_endpoints = own_endpoints
        self._rounds = 0
        self._own: dict[str, CertificateInfo] = {}
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
        endpoints = self._own_endpoints if self._rounds % SELDOM == 0 else ()
        self._rounds += 1
        for what, where in endpoints:
            if found := await _own(what, where):
                self._own[where] = found
        self._seen(bad, tuple(self._own.values()))

    async def _unserved(self, places: Iterable[Target]) -> Mapping[Target, ProbeMismatch]:
        found: dict[Target, ProbeMismatch] = {}
        closed: dict[tuple[str, int], Unreachable] = {}
        for target in sorted(places):
            if (seat := self._proof.expected.get(target)) is None:
                continue
            # nobody there for one host is nobody for the others: a thousand of them are not waited for
            sight = closed.get((target.address, target.port)) or await self._proof.probe(seat)
            if isinstance(sight, Unreachable):
                closed[target.address, target.port] = sight
            if not isinstance(sight, Served) and self._proof.expects(target, seat.chain):
                found[target] = describe_mismatch(seat, sight)
            await asyncio.sleep(GAP)
        return found


def describe_mismatch(seat: ExpectedCertificate, sight: ProbeResult) -> ProbeMismatch:
    """A place that does not show what it should, in words."""
    target = seat.target
    match sight:
        case Unreachable():
            why = f"nobody answers there ({sight.why})"
        case WrongCertificate():
            why = f"another certificate is shown ({sight.fingerprint[:16]})"
        case WrongChain():
            why = f"the right certificate is shown, but {sight.why}"
        case HandshakeFailed():
            why = sight.why
        case Served():
            why = "it is shown again"
    return ProbeMismatch(
        certificate=seat.certificate,
        where=f"{target.address}:{target.port}",
        host=target.host,
        reachable=not isinstance(sight, Unreachable),
        why=why,
    )


async def _own(what: str, where: str) -> CertificateInfo | None:
    host, _, port = where.rpartition(":")
    try:
        shown = parse_shown(
            await handshake(Target(address=host.strip("[]"), port=int(port), host=host.strip("[]")))
        )
    except (OSError, TimeoutError, InvalidPem) as error:
        _log.debug("own certificate not seen", what=what, where=where, why=str(error))
        return None
    return own(where, what, shown)
