"""The ELB alone, with 1,000 certificates on one listener: `python -m bench elb [ROW]` writes its page.

Rows: add, rotate, storm, memory. The ELB and its Envoy are processes of their own, as are the clients.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from bench.crowd import Crowd
from bench.prober import Prober
from bench.rows import p99
from bench.service import ADDRESS, Service, issue, rss
from certferry.core.x509.pem import KeyPair
from tests.elb.support.dataplane import handshake
from tests.elb.support.members import member

T = TypeVar("T")
REPORT: Final = Path(__file__).parent.parent / "docs" / "benchmarks-elb.md"
CERTIFICATES: Final = 1_000
RATE: Final = 200
RENEWING: Final = 10.0
"""Seconds in which all certificates are renewed."""
LOOKING: Final = 0.01
"""Seconds between two looks for an added name: clients that look without a pause need a core of their own."""
UNRELATED: Final = 0.1
"""Seconds between two renewals of the unrelated certificate."""
PATIENCE: Final = 60.0
"""Seconds until a storm is abandoned (reported as inf)."""
_AT_ONCE: Final = 16

INTRODUCTION: Final = """\
# Benchmarks of the ELB

`python -m bench elb` measures and writes this page, also if a target is missed. `python -m bench elb ROW` runs one row
(`add`, `rotate`, `storm`, `memory`) and writes nothing. The ELB, its Envoy (two threads, access log on) and the clients
are separate processes on one machine. A time runs from the API request until a client has completed a TLS handshake
that shows the certificate.

- *add*: a listener with 1,000 SNI certificates gets one more (one PUT of the listener).
- *rotate*: new content for one of them (one PUT of the certificate).
- *storm*: all 1,000 are renewed within 10 s. Meanwhile clients send 200 requests a second, half of them on new
  connections. A certificate of another listener is renewed ten times a second (the unrelated one).
- *memory*: resident size after the other rows, and with one certificate.
"""


@dataclass(frozen=True)
class Measured:
    """One line of the table."""

    row: str
    what: str
    value: str
    promised: str = ""
    met: bool | None = None


class Full:
    """A service with a thousand certificates on one listener, and an unrelated one on another."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.loadbalancer = self.listener = self.unrelated = ""
        self.port = self.other_port = 0
        self.ids: list[str] = []

    async def fill(self, count: int, backend: int) -> None:
        """Until the last certificate is served."""
        service = self.service
        made = (await service.post("/loadbalancers", {"loadbalancer": {"name": "bench"}}))["loadbalancer"]
        self.loadbalancer, service.shift = made["id"], made["certferry"]["port_shift"]
        fields = {"loadbalancer_id": self.loadbalancer, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
        pool = (await service.post("/pools", {"pool": fields}))["pool"]["id"]
        body = {"address": ADDRESS, "protocol_port": backend}
        await service.post(f"/pools/{pool}/members", {"member": body})
        self.ids = await _together([service.certificate(name(number)) for number in range(count)])
        self.listener, self.port = await service.listener(self.loadbalancer, self.ids, default_pool_id=pool)
        self.unrelated = await service.certificate("unrelated.bench.example")
        _, self.other_port = await service.listener(self.loadbalancer, [self.unrelated], default_pool_id=pool)
        await self._rotated(count - 1, 120)

    async def _rotated(self, number: int, patience: float) -> float:
        pair = issue(name(number))
        async with Prober(ADDRESS, self.port, name(number)) as prober:
            begun = time.monotonic()
            await self.service.renew(self.ids[number], pair)
            return await prober.sees(pair.chain.fingerprint, patience) - begun

    async def add(self) -> list[Measured]:
        """One name more."""
        times = []
        for turn in range(10):
            extra = f"extra{turn}.bench.example"
            pair = issue(extra)
            made = await self.service.certificate(extra)
            await self.service.renew(made, pair)
            self.ids.append(made)
            begun = time.monotonic()
            await self.service.put(f"/listeners/{self.listener}", {"listener": {"sni_container_refs": self.ids}})
            while await handshake(self.port, extra) != pair.chain.fingerprint:  # noqa: ASYNC110 (as a client)
                await asyncio.sleep(LOOKING)
            times.append(time.monotonic() - begun)
        return [
            Measured("add", "median of 10", f"{statistics.median(times):.2f} s", "< 1 s", statistics.median(times) < 1),
            Measured("add", "slowest", f"{max(times):.2f} s", "< 1 s", max(times) < 1),
        ]

    async def rotate(self) -> list[Measured]:
        """One certificate at a time."""
        pairs = [issue(name(7)) for _ in range(200)]
        times = []
        async with Prober(ADDRESS, self.port, name(7)) as prober:
            await prober.speaks()
            for pair in pairs:
                begun = time.monotonic()
                await self.service.renew(self.ids[7], pair)
                times.append(1000 * (await prober.sees(pair.chain.fingerprint) - begun))
        middle = statistics.median(times)
        return [
            Measured("rotate", "median of 200", f"{middle:.1f} ms", "< 50 ms", middle < 50),
            Measured("rotate", "p99", f"{p99(times):.1f} ms"),
        ]

    async def storm(self) -> list[Measured]:
        """All of them at once, under load."""
        pairs = [issue(name(number)) for number in range(CERTIFICATES)]
        others = [issue("unrelated.bench.example") for _ in range(400)]
        times: list[float] = []
        names = [name(number) for number in range(CERTIFICATES)]
        crowd = Crowd(self.port, RATE, names)
        async with crowd, Prober(ADDRESS, self.other_port, "unrelated.bench.example") as prober:
            await prober.speaks()
            done = asyncio.Event()
            unrelated = asyncio.create_task(self._unrelated(prober, others, times, done))
            begun = time.monotonic()
            written = last = math.inf
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    turns = asyncio.Queue[int]()
                    written, last = await asyncio.gather(
                        self._renew_all(pairs, begun, turns), self._all_served(pairs, begun, turns)
                    )
            done.set()
            await unrelated
        slow = p99([1000 * t for t in times])
        return [
            Measured("storm", "all written after", f"{written:.1f} s", "10 s", written <= RENEWING + 0.5),
            Measured("storm", "last one served after", f"{last:.1f} s", "< 15 s", last < 15),
            Measured("storm", "failed requests", f"{crowd.failures} of {crowd.requests:,}", "0", not crowd.failures),
            Measured("storm", f"p99 of {len(times)} unrelated rotations", f"{slow:.0f} ms", "< 500 ms", slow < 500),
        ] + ([Measured("storm", "first failure", crowd.first)] if crowd.failures else [])

    async def _renew_all(self, pairs: Sequence[KeyPair], begun: float, turns: asyncio.Queue[int]) -> float:
        async def renew(number: int) -> None:
            await asyncio.sleep(max(0, begun + number * RENEWING / CERTIFICATES - time.monotonic()))
            await self.service.renew(self.ids[number], pairs[number])
            turns.put_nowait(number)

        await _together([renew(number) for number in range(CERTIFICATES)])
        return time.monotonic() - begun

    async def _all_served(self, pairs: Sequence[KeyPair], begun: float, turns: asyncio.Queue[int]) -> float:
        """Until a handshake has shown each new certificate; each is looked at once it is written."""
        for _ in pairs:
            number = await turns.get()
            while await handshake(self.port, name(number)) != pairs[number].chain.fingerprint:
                pass
        return time.monotonic() - begun

    async def _unrelated(
        self, prober: Prober, pairs: Sequence[KeyPair], times: list[float], done: asyncio.Event
    ) -> None:
        for pair in pairs:
            if done.is_set():
                return
            begun = time.monotonic()
            await self.service.renew(self.unrelated, pair)
            times.append(await prober.sees(pair.chain.fingerprint) - begun)
            await asyncio.sleep(max(0, begun + UNRELATED - time.monotonic()))

    async def memory(self) -> list[Measured]:
        """Resident sizes now."""
        return [
            Measured("memory", f"{program}, {CERTIFICATES:,} certificates", f"{rss(pid):.0f} MiB")
            for program, pid in self.service.pids().items()
        ]


async def _together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all of `work`, a few at a time, begun in order."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(each: Coroutine[Any, Any, T]) -> T:
        async with places:
            return await each

    return list(await asyncio.gather(*(one(each) for each in work)))


def name(number: int) -> str:
    """The host of one certificate."""
    return f"h{number}.bench.example"


ROWS: Final[dict[str, Callable[[Full], Awaitable[list[Measured]]]]] = {
    "add": Full.add,
    "rotate": Full.rotate,
    "storm": Full.storm,
    "memory": Full.memory,
}


async def _measure(rows: Sequence[str]) -> list[Measured]:
    found: list[Measured] = []
    for count in (1, CERTIFICATES):
        directory = Path(tempfile.mkdtemp(prefix="cfb-"))
        try:
            async with member() as backend, Service(directory) as service:
                full = Full(service)
                await full.fill(count, backend.port)
                if count == 1:
                    if "memory" in rows:
                        found += [
                            Measured("memory", f"{program}, 1 certificate", f"{rss(pid):.0f} MiB")
                            for program, pid in service.pids().items()
                        ]
                    continue
                for row in rows:
                    print(f"{row} …", file=sys.stderr, flush=True)
                    found += await ROWS[row](full)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    return found


def main(arguments: list[str]) -> None:
    """Measure, print, and write the page if everything was measured."""
    parser = argparse.ArgumentParser(prog="python -m bench elb", description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], default=[])
    asked = parser.parse_args(arguments)
    found = asyncio.run(_measure(asked.rows or list(ROWS)))
    table = "\n".join(
        ["| row | what | measured | promised | |", "|---|---|---:|---:|---|"]
        + [f"| {m.row} | {m.what} | {m.value} | {m.promised} | {_word(m.met)} |" for m in found]
    )
    print(table)
    if not asked.rows:
        REPORT.write_text(f"{INTRODUCTION}\n## Results\n\n{_where()}\n\n{table}\n")


def _where() -> str:
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, Python "
        f"{platform.python_version()}; load average {load:.0f} at the end, the benchmark's own included."
    )


def _word(met: bool | None) -> str:
    return "" if met is None else "met" if met else "**not met**"
