"""Periodic probes of everything that is served, although nothing changed.

Another client may have changed the load balancer, or a firewall the way to it. The system's own certificates are
probed too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from certferry.controller.verify.rotation import ExpectedCertificate, RotationVerifier
from certferry.core.diagnosis.inventory import CertificateInfo, own
from certferry.core.x509.pem import InvalidPem, parse_shown
from certferry.runtime.tls_probe import ProbeResult, Served, Target, Unreachable, handshake

GAP: Final = 0.02
"""Seconds between two handshakes, so that a thousand hosts take twenty seconds."""

SELDOM: Final = 10
"""Rounds between two probes of our own certificates: each one is logged by a server that demands client certificates."""

OwnSeen = Callable[[tuple[CertificateInfo, ...]], None]
"""Called after each round with the system's own certificates."""

_log = structlog.get_logger()


class PeriodicProber:
    """Rounds, one after the other. `own_endpoints`: (what it is, host:port) of each certificate of our own."""

    def __init__(
        self, proof: RotationVerifier, own_seen: OwnSeen, every: float, own_endpoints: tuple[tuple[str, str], ...]
    ) -> None:
        self._proof = proof
        self._own_seen = own_seen
        self._every = every
        self._own_endpoints = own_endpoints
        self._rounds = 0
        self._own: dict[str, CertificateInfo] = {}
        """As it was last seen, by place: one that does not answer now expires all the same."""

    async def run(self) -> None:
        """Probe until cancelled."""
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
        for target, (expected, result) in bad.items():
            self._proof.record(target, expected.chain, result)
        self._own_seen(tuple(self._own.values()))

    async def _unserved(self, places: Iterable[Target]) -> Mapping[Target, tuple[ExpectedCertificate, ProbeResult]]:
        unserved: dict[Target, tuple[ExpectedCertificate, ProbeResult]] = {}
        closed: dict[tuple[str, int], Unreachable] = {}
        for target in sorted(places):
            if (expected := self._proof.expected.get(target)) is None:
                continue
            # a closed port is closed for all its hosts, which may be a thousand
            result = closed.get((target.address, target.port)) or await self._proof.probe(expected)
            if isinstance(result, Unreachable):
                closed[target.address, target.port] = result
            if not isinstance(result, Served) and self._proof.expects(target, expected.chain):
                unserved[target] = expected, result
            await asyncio.sleep(GAP)
        return unserved


async def _own(what: str, where: str) -> CertificateInfo | None:
    host, _, port = where.rpartition(":")
    try:
        shown = parse_shown(await handshake(Target(address=host.strip("[]"), port=int(port), host=host.strip("[]"))))
    except (OSError, TimeoutError, InvalidPem) as error:
        _log.debug("own certificate not seen", what=what, where=where, why=str(error))
        return None
    return own(where, what, shown)
