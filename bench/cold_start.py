"""A system with N Ingresses and N Secrets: its cold start, its memory, and the CPU time of spaced rotations.

Run as ``python -m bench.cold_start N...``, ``python -m bench memory N...`` or ``python -m bench spaced N...``. The whole
system runs as processes, with Envoy. A host counts as served once a handshake shows the certificate of its own Secret.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import shutil
import ssl
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.rotation import cpu_milliseconds
from bench.scale import SETTINGS, SPACE, Scale, _say
from certferry.core.model.elb import bind_port
from certferry.core.x509.pem import parse_chain
from certferry.elb.client.client import ElbClient
from certferry.elb.client.credentials import Credentials
from certferry.elb.client.observe import observe
from certferry.kube.client.client import SECRET, KubeClient
from certferry.kube.client.kubeconfig import load
from tests.e2e.support import objects
from tests.e2e.support.separate_processes import ApartSystem

_CONTEXT: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_CONTEXT.check_hostname = False
_CONTEXT.verify_mode = ssl.CERT_NONE  # compares fingerprints


class OwnSecrets(Scale):
    """Every Ingress has a Secret and a host of its own; all are on one load balancer."""

    def __init__(self, system: ApartSystem, number: int) -> None:
        super().__init__(system, number, number)
        self.per_balancer = number
        self.shown: dict[str, str] = {}

    def secret(self, number: int) -> dict[str, Any]:
        pair = self.authority.issue(self._host(number))
        self.shown[self._host(number)] = parse_chain(pair.certificate).fingerprint
        return objects.pair_secret(SPACE, f"tls-{number}", pair)

    async def address(self) -> tuple[str, int]:
        """Return where clients will find port 443 of the load balancer."""
        endpoint = self.system.endpoints.elb
        keys = Credentials(
            project_id=endpoint.project_id, access_key=endpoint.access_key, secret_key=endpoint.secret_key
        )
        async with ElbClient(endpoint.url, keys) as elb:
            balancer = (await observe(elb)).loadbalancers[self.balancers[0]]
        return balancer.vip_address or "", bind_port(balancer, 443)

    def _secret_of(self, number: int) -> int:
        return number

    def _host(self, number: int) -> str:
        return f"h{number}.cold.example"


async def served(address: str, port: int, expected: dict[str, str]) -> None:
    """Wait until each host of `expected` shows its fingerprint."""
    waiting = asyncio.Semaphore(8)

    async def one(host: str, fingerprint: str) -> None:
        while True:
            async with waiting:
                if await _shown(address, port, host) == fingerprint:
                    return
            await asyncio.sleep(0.05)

    # The last hosts are the last to be served: with them first, the others cost one handshake each.
    await asyncio.gather(*(one(host, fingerprint) for host, fingerprint in reversed(expected.items())))


async def _shown(address: str, port: int, host: str) -> str:
    try:
        _, writer = await asyncio.open_connection(address, port, ssl=_CONTEXT, server_hostname=host)
    except OSError:
        return ""
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) or b""
    writer.close()
    return hashlib.sha256(certificate).hexdigest()


PROGRAMS: Final = ("controller", "elb", "envoy", "kube")
IDLE: Final = 45.0
"""Seconds after which the reports and the first periodic probes of a thousand hosts are over."""
SPACING: Final = 0.35
ROTATIONS: Final = 40


@contextmanager
def running(number: int, **settings: str) -> Iterator[tuple[ApartSystem, OwnSecrets]]:
    """Yield a running system without its controller, with `number` Ingresses."""
    place = Path(tempfile.mkdtemp(prefix="cfb-"))
    system = ApartSystem(place / "s")
    system.settings |= (
        SETTINGS | {"CERTFERRY_ELB_ENVOY": "true", "CERTFERRY_CONTROLLER_PROBE_DEADLINE": "10"} | settings
    )
    system.start_kube()
    try:
        system.prepare()
        cold = OwnSecrets(system, number)
        _say(f"making {number:,} Ingresses and Secrets")
        asyncio.run(cold.fill())
        yield system, cold
    finally:
        system.stop()
        shutil.rmtree(place, ignore_errors=True)


def measure(number: int) -> tuple[float, float]:
    """Return the seconds until the first and until every host is served, from the controller's start."""
    with running(number) as (system, cold):
        address, port = asyncio.run(cold.address())
        began = time.monotonic()
        system.launch_controller()
        asyncio.run(served(address, port, dict(list(cold.shown.items())[:1])))
        first = time.monotonic() - began
        asyncio.run(served(address, port, cold.shown))
        return first, time.monotonic() - began


def pss(pid: int) -> float:
    """Return the proportional set size of a process, in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def memory(number: int) -> dict[str, float]:
    """Return the memory of each program with `number` certificates, idle after the start."""
    with running(number) as (system, cold):
        system.launch_controller()
        address, port = asyncio.run(cold.address())
        asyncio.run(served(address, port, cold.shown))
        time.sleep(IDLE)
        return {program: pss(system.pid(program)) for program in PROGRAMS}


def spaced(number: int) -> tuple[float, dict[str, float]]:
    """Return the median of rotations `SPACING` apart, and the CPU time per rotation of each program; in ms.

    Without periodic probes, whose cost does not depend on rotations.
    """
    with running(number, CERTFERRY_CONTROLLER_PROBE_INTERVAL="0") as (system, cold):
        system.launch_controller()
        address, port = asyncio.run(cold.address())
        asyncio.run(served(address, port, cold.shown))
        time.sleep(IDLE)
        before = _cpu(system)
        median = statistics.median(asyncio.run(_rotations(cold, address, port)))
        return median, {program: (ms - before[program]) / ROTATIONS for program, ms in _cpu(system).items()}


async def _rotations(cold: OwnSecrets, address: str, port: int) -> list[float]:
    taken = []
    async with KubeClient(load(cold.system.kubeconfig)) as kube:
        for turn in range(ROTATIONS):
            number = turn * 37 % cold.secrets
            host, renewed = cold._host(number), cold.secret(number)
            began = time.perf_counter()
            await kube.merge(SECRET, f"tls-{number}", {"data": renewed["data"]}, SPACE)
            while await _shown(address, port, host) != cold.shown[host]:
                pass
            taken.append(1000 * (time.perf_counter() - began))
            await asyncio.sleep(max(0.0, SPACING - taken[-1] / 1000))
    return taken


def _cpu(system: ApartSystem) -> dict[str, float]:
    """Return the CPU milliseconds that each program has used so far."""
    return {program: cpu_milliseconds(system.pid(program)) for program in PROGRAMS}


def main(numbers: Iterable[int]) -> None:
    """Measure cold starts and print them."""
    print("| Ingresses | first served | all served |\n|---:|---:|---:|")
    for number in numbers:
        first, every = measure(number)
        print(f"| {number:,} | {first:.1f} s | {every:.1f} s |", flush=True)


def memory_main(arguments: Sequence[str]) -> None:
    """Measure memory and print it."""
    print(f"| certificates | {' | '.join(PROGRAMS)} | without kube |\n|---:{'|---:' * (len(PROGRAMS) + 1)}|")
    for number in map(int, arguments or ("1", "1000")):
        used = memory(number)
        cells = [*used.values(), sum(used.values()) - used["kube"]]
        print(f"| {number:,} | {' | '.join(f'{cell:.0f} MB' for cell in cells)} |", flush=True)


def spaced_main(arguments: Sequence[str]) -> None:
    """Measure spaced rotations and print them."""
    print(f"| certificates | median | {' | '.join(PROGRAMS)} | all |\n|---:|---:{'|---:' * (len(PROGRAMS) + 1)}|")
    for number in map(int, arguments or ("1", "1000")):
        median, used = spaced(number)
        cells = [median, *used.values(), sum(used.values())]
        print(f"| {number:,} | {' | '.join(f'{cell:.1f} ms' for cell in cells)} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.cold_start", description=__doc__)
    parser.add_argument("ingresses", type=int, nargs="*", default=[1, 1_000])
    main(parser.parse_args().ingresses)
