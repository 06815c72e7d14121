"""TLS handshakes with listeners, made by the console in the background, and their last results.

Pages request probes of what they show and are refreshed when a result changes. A handshake verifies nothing. Only
addresses that the ELB gives its load balancers are probed.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from certferry.core.diagnosis.host_state import HostProbe, HostState
from certferry.core.diagnosis.usage import Use
from certferry.core.model.elb import LoadBalancer, bind_port
from certferry.core.x509.pem import Chain, InvalidPem, parse_shown
from certferry.core.x509.presented import chain_difference
from certferry.runtime.latest import Latest
from certferry.runtime.prober import Prober
from certferry.runtime.tls_probe import Target

FRESH: Final = 10.0
"""Seconds after which a requested probe is repeated."""
RETRIES: Final = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
"""Seconds between probes of a listener that does not show the expected certificate."""
ONE_HANDSHAKE: Final = 3.0
SILENT: Final = "no answer in time"
PARALLEL: Final = 6
RESULTS: Final = 20_000


class ProbeResult(NamedTuple):
    """The chain of a handshake, or why there is none."""

    at: float
    """On the monotonic clock."""
    when: datetime
    shown: Chain | None
    error: str
    reached: bool
    """False: the connection failed."""
    expected: tuple[str, ...]
    """Digests of the chains that the listener had for the host at that time."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the leaf; "" without a chain."""
        return self.shown.fingerprint if self.shown else ""

    def objection(self, chain: Chain) -> str:
        """Return a sentence that says how the result differs from `chain`, leaf and intermediates; "" if it does not."""
        if self.shown is None:
            return self.error
        if self.fingerprint != chain.fingerprint:
            return "Another certificate is served."
        why = chain_difference(self.shown, chain)
        return f"The right certificate is served, but {why}." if why else ""


class ProbeCache:
    """The last result by target."""

    def __init__(self) -> None:
        self.changed: Latest[int] = Latest(0)
        self._results: dict[Target, ProbeResult] = {}
        self._tasks: dict[Target, asyncio.Task[None]] = {}
        self._prober = Prober(PARALLEL)

    def request(self, states: Iterable[HostState]) -> None:
        """Probe the hosts without a recent result, and again those that do not show a bound chain yet."""
        now = time.monotonic()
        for target, expected in _bound_chains(states).items():
            last = self._results.get(target)
            due = last is None or now - last.at > (FRESH if _is_final(last, expected) else RETRIES[0])
            if target not in self._tasks and due:
                task = asyncio.get_running_loop().create_task(self._probe_with_retries(target, expected))
                self._tasks[target] = task
                task.add_done_callback(functools.partial(self._done, target))

    def results(self, states: Iterable[HostState]) -> list[HostProbe]:
        """Return the last result for each host, as far as it is about the chain that is bound now."""
        return [
            HostProbe(
                address=target.address,
                port=target.port,
                sni=target.host,
                chain=result.shown,
                error=result.error,
                reached=result.reached,
                at=result.when,
                expected=digest,
            )
            for target in dict.fromkeys(map(target_of, states))
            if (result := self._results.get(target))
            for digest in result.expected
        ]

    async def close(self) -> None:
        """End the running probes."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def probe(self, target: Target, expected: Sequence[Chain]) -> ProbeResult:
        """Probe now. `expected`: the chains that the listener has for the host."""
        result = await _handshake(self._prober, target, tuple(chain.digest for chain in expected))
        before = self._results.pop(target, None)
        self._results[target] = result
        if len(self._results) > RESULTS:
            del self._results[next(iter(self._results))]
        if before is None or before[2:] != result[2:]:
            self.changed.set(self.changed.value + 1)
        return result

    async def _probe_with_retries(self, target: Target, expected: Sequence[Chain]) -> None:
        # no event says when a listener shows the new certificate; without retries a page would keep “Not served”
        for pause in (0, *RETRIES):
            await asyncio.sleep(pause)
            if _is_final(await self.probe(target, expected), expected):
                return

    def _done(self, target: Target, _: asyncio.Task[None]) -> None:
        self._tasks.pop(target, None)


def _is_final(result: ProbeResult, expected: Sequence[Chain]) -> bool:
    """Return whether a retry is not worth its time: an expected chain is served, or nothing answers."""
    return result.error == SILENT or any(not result.objection(chain) for chain in expected)


def _bound_chains(states: Iterable[HostState]) -> dict[Target, list[Chain]]:
    """Return the chains that listeners have, by target. A load balancer without an address is not probed."""
    chains: dict[Target, list[Chain]] = {}
    for state in states:
        if state.bound and state.bound.chain and state.loadbalancer.vip_address:
            chains.setdefault(target_of(state), []).append(state.bound.chain)
    return chains


def target_of(state: HostState) -> Target:
    """Return the target at which clients of a host connect."""
    return Target(address=state.key.address, port=state.key.port, host=state.host)


def hosts_of(use: Use) -> tuple[str, ...]:
    """Return the names to request to get the certificate of `use`."""
    return use.hosts or use.names or ("",)


def target(balancer: LoadBalancer, port: int, host: str) -> Target:
    """Return the target for `port` of `balancer`, as it is really bound."""
    return Target(address=balancer.vip_address or "", port=bind_port(balancer, port), host=host)


async def _handshake(prober: Prober, target: Target, expected: tuple[str, ...]) -> ProbeResult:
    at, shown, problem, reached = time.monotonic(), None, "", False
    try:
        sent = await prober.handshake(target, ONE_HANDSHAKE)
        reached = True
        shown = parse_shown(sent)
    except TimeoutError:
        problem = SILENT
    except ssl.SSLError as error:
        problem, reached = error.reason or "no reason given", True
    except (OSError, UnicodeError) as error:
        problem = getattr(error, "strerror", None) or type(error).__name__
    except InvalidPem as defect:
        problem = defect.sentence
    return ProbeResult(at, datetime.now(UTC), shown, problem, reached, expected)
