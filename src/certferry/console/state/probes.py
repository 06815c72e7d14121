"""What clients are really shown, seen by the console itself: TLS handshakes with listeners.

Pages ask for what they show; a look is made in the background, at most a few at a time, and the page
is told when it came. Nothing is verified: the question is what is served, not whether it is good.
Only addresses of load balancers that the ELB names are asked for.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from collections.abc import Iterable
from typing import Final, NamedTuple

from certferry.core.diagnosis.usage import Use
from certferry.core.model.elb import LoadBalancer, State, bind_port
from certferry.core.x509.pem import Chain, InvalidPem, parse_shown
from certferry.core.x509.presented import chain_difference
from certferry.runtime.latest import Latest
from certferry.runtime.tls_probe import Target, handshake

FRESH: Final = 10.0
"""Seconds after which a look is made again."""
AGAIN: Final = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
"""Seconds between looks at what does not show what it should."""
ONE_HANDSHAKE: Final = 3.0
SILENT: Final = "no answer in time"
PARALLEL: Final = 6
KEPT: Final = 20_000
PER_USE: Final = 3
"""Hosts that are looked at per certificate and listener."""


class ProbeResult(NamedTuple):
    """What was seen, when: a chain, or why there is none."""

    at: float
    shown: Chain | None
    trouble: str

    @property
    def fingerprint(self) -> str:
        """The leaf's; "" when none was seen."""
        return self.shown.fingerprint if self.shown else ""

    def objection(self, chain: Chain) -> str:
        """What keeps it from being `chain`, leaf and all that comes with it, as a sentence; "" when it is that."""
        if self.shown is None:
            return self.error
        if self.fingerprint != chain.fingerprint:
            return "Another certificate is shown."
        why = chain_difference(self.shown, chain)
        return f"The right certificate is shown, but {why}." if why else ""


class ProbeCache:
    """What was seen last, by target."""

    def __init__(self) -> None:
        self.changed: Latest[int] = Latest(0)
        self._seen: dict[Target, ProbeResult] = {}
        self._tasks: dict[Target, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(PARALLEL)

    def get(self, target: Target) -> ProbeResult | None:
        """What was seen last, however long ago."""
        return self._seen.get(target)

    def request(self, targets: Iterable[Target], expected: Chain) -> None:
        """Look at those that were not looked at lately, and again at what does not show `expected` yet."""
        now = time.monotonic()
        for target in targets:
            seen = self._seen.get(target)
            old = seen is None or now - seen.at > (FRESH if _settled(seen, expected) else AGAIN[0])
            if target not in self._tasks and old:
                task = asyncio.get_running_loop().create_task(self._look(target, expected))
                self._tasks[target] = task
                task.add_done_callback(functools.partial(self._looked, target))

    async def close(self) -> None:
        """End the looks under way."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def look(self, target: Target) -> ProbeResult:
        """Look now."""
        async with self._turn:
            result = await _seen(target)
        before = self._seen.pop(target, None)
        self._seen[target] = result
        if len(self._seen) > KEPT:
            del self._seen[next(iter(self._seen))]
        if before is None or before[1:] != result[1:]:
            self.changed.set(self.changed.value + 1)
        return result

    async def _look(self, target: Target, expected: Chain) -> None:
        # no event tells when a listener shows what it should: a page would say “Not served” until the next one
        for pause in (0, *AGAIN):
            await asyncio.sleep(pause)
            if _settled(await self.look(target), expected):
                return

    def _looked(self, target: Target, _: asyncio.Task[None]) -> None:
        self._tasks.pop(target, None)


def _settled(result: ProbeResult, expected: Chain) -> bool:
    """Whether another look soon is not worth its time: all is well, or nobody answers."""
    return result.trouble == SILENT or not result.objection(expected)


def targets(use: Use, state: State) -> list[Target]:
    """Where to look for `use`, the first few of its hosts."""
    balancer = state.loadbalancers.get(use.loadbalancer)
    if balancer is None or not balancer.vip_address:
        return []
    return [target(balancer, use.port, host) for host in hosts_of(use)[:PER_USE]]


def hosts_of(use: Use) -> tuple[str, ...]:
    """The names to ask for to be shown the certificate of `use`."""
    return use.hosts or use.names or ("",)


def target(balancer: LoadBalancer, port: int, host: str) -> Target:
    """Where `port` of `balancer` is reached."""
    return Target(address=balancer.vip_address or "", port=bind_port(balancer, port), host=host)


async def _seen(target: Target) -> ProbeResult:
    at, shown, trouble = time.monotonic(), None, ""
    try:
        shown = parse_shown(await handshake(target, ONE_HANDSHAKE))
    except TimeoutError:
        trouble = SILENT
    except ssl.SSLError as error:
        trouble = f"the TLS handshake failed ({error.reason or 'no reason given'})"
    except (OSError, UnicodeError) as error:
        trouble = getattr(error, "strerror", None) or type(error).__name__
    except InvalidPem as defect:
        trouble = defect.sentence
    return ProbeResult(at, shown, trouble)
