"""The prober of the controller, the console and the command line: when, how often and how many TLS handshakes.

A few handshakes with one listener run at a time, so that a dead one delays no other. A listener may have a thousand
names: a port that was closed for one of them is closed for the others too, for a moment.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Final

from certferry.core.x509.pem import Chain
from certferry.runtime.backoff import Backoff
from certferry.runtime.tls_probe import (
    HANDSHAKE_TIMEOUT,
    HandshakeFailed,
    NotReached,
    ProbeResult,
    Served,
    Target,
    Unreachable,
    compare,
    handshake,
)

FIRST_DELAY: Final = 0.002
LONGEST_DELAY: Final = 0.5
PARALLEL: Final = 4
"""Simultaneous handshakes with one listener."""
FRESH: Final = 0.5
"""Seconds for which a closed port counts as closed."""


class Prober:
    """Handshakes with any number of listeners, at most `total` at a time."""

    def __init__(self, total: int = 1000) -> None:
        self._total = asyncio.Semaphore(total)
        self._listeners: dict[tuple[str, int], _Listener] = {}

    async def handshake(self, target: Target, seconds: float = HANDSHAKE_TIMEOUT) -> tuple[bytes, ...]:
        """Return the certificates (DER) that `target` serves, leaf first. Raises as ``tls_probe.handshake`` does."""
        listener = self._listeners.setdefault((target.address, target.port), _Listener())
        async with listener.turn, self._total:
            if listener.closed and time.monotonic() - listener.closed_at < FRESH:
                raise NotReached(*listener.closed)
            try:
                shown = await handshake(target, seconds)
            except NotReached as error:
                listener.closed, listener.closed_at = (error.errno or 0, error.strerror or ""), time.monotonic()
                raise
            listener.closed = None
        return shown

    async def probe(self, target: Target, chain: Chain, seconds: float = HANDSHAKE_TIMEOUT) -> ProbeResult:
        """Compare the chain that `target` serves with `chain`."""
        try:
            return compare(await self.handshake(target, seconds), chain)
        except NotReached as error:
            return Unreachable(why=error.strerror or "no reason given")
        except TimeoutError:
            return HandshakeFailed(why="no answer to the TLS handshake in time")
        except ssl.SSLError as error:
            return HandshakeFailed(why=f"the TLS handshake failed ({error.reason or 'no reason given'})")
        except OSError as error:
            return HandshakeFailed(why=f"the TLS handshake was cut ({error.strerror or type(error).__name__})")

    async def wait_until_served(
        self,
        target: Target,
        chain: Chain,
        deadline: float,
        still_wanted: Callable[[], bool] = lambda: True,
        on_result: Callable[[ProbeResult], None] = lambda result: None,
    ) -> ProbeResult:
        """Probe repeatedly until `target` serves `chain`; return the last result.

        Stops after `deadline` seconds or when `still_wanted` returns False. Calls `on_result` with each result.
        """
        end, backoff = time.monotonic() + deadline, Backoff(FIRST_DELAY, LONGEST_DELAY, 1.6)
        while True:
            # The first probe waits too, because the ELB answers shortly before clients see the change.
            await backoff.wait()
            result = await self.probe(target, chain, min(HANDSHAKE_TIMEOUT, deadline))
            on_result(result)
            if isinstance(result, Served) or time.monotonic() + backoff.delay > end or not still_wanted():
                return result


class _Listener:
    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(PARALLEL)
        self.closed: tuple[int, str] | None = None
        """Number and text of the error if the last connection failed."""
        self.closed_at = 0.0
