"""Duration of a leader hand-over at the default lease: `python -m bench.hand_over`. Minutes.

Two controllers as processes, the tests' ELB and API server; SIGKILL to the one that leads together with a new
certificate, five times. It tells the seconds until the other one's write of it reaches the ELB. No row of
`make bench`: most of it is waiting for the lease.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import statistics
import tempfile
import time
from pathlib import Path

from tests.controller.conftest import System
from tests.controller.support.fake_kube import until
from tests.controller.support.replicas import Replica
from tests.support.certs import authority

TIMES = 5
LEASE_SECONDS = "10"


async def hand_over(system: System, folder: Path) -> float:
    """Seconds from the kill to the other one's write."""
    lease = {"lease_seconds": LEASE_SECONDS}
    async with Replica(system, "A", folder, **lease) as first, Replica(system, "B", folder, **lease) as second:
        await until(lambda: system.annotation("certferry.io/rotation"), seconds=30)
        leader, other = (first, second) if first.leads else (second, first)
        writes = len(system.elb.writers)
        leader.signal(signal.SIGKILL)
        killed = time.monotonic()
        system.kube.secret("demo", "shop-tls", authority().issue("shop.example.com"))
        await until(lambda: other.wrote(writes), seconds=30)
        return time.monotonic() - killed


async def main() -> None:
    """Each time anew, so that none finds the Lease of the one before."""
    logging.disable()  # watches that end with their client
    took = []
    for _ in range(TIMES):
        system = System()
        await system.kube.start()
        await system.elb.start()
        system.balancer = system.elb.balancer()
        system.shop(authority().issue("shop.example.com"))
        with tempfile.TemporaryDirectory() as folder:
            took.append(await hand_over(system, Path(folder)))
        print(f"{took[-1]:.1f} s", flush=True)
        await system.elb.close()
        await system.kube.stop()
    print(f"median {statistics.median(took):.1f} s, longest {max(took):.1f} s, lease {LEASE_SECONDS} s")


if __name__ == "__main__":
    asyncio.run(main())
