"""Cold start: the controller finds N Ingresses with N Secrets and an empty ELB; how long until every host is served.

Run as ``python -m bench.cold_start N...``. The whole system runs as processes, with Envoy. A host counts as served
once a handshake shows the certificate of its own Secret.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import shutil
import ssl
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from bench.scale import SETTINGS, SPACE, Scale, _say
from certferry.core.model.elb import bind_port
from certferry.core.x509.pem import parse_chain
from certferry.elb.client.client import ElbClient
from certferry.elb.client.credentials import Credentials
from certferry.elb.client.observe import observe
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


def measure(number: int, state: Path) -> tuple[float, float]:
    """Return the seconds until the first and until every host is served, from the controller's start."""
    system = ApartSystem(state)
    system.settings |= SETTINGS | {"CERTFERRY_ELB_ENVOY": "true"}
    system.start_kube()
    try:
        system.prepare()
        cold = OwnSecrets(system, number)
        _say(f"making {number:,} Ingresses and Secrets")
        asyncio.run(cold.fill())
        address, port = asyncio.run(cold.address())
        began = time.monotonic()
        system.launch_controller()
        asyncio.run(served(address, port, dict(list(cold.shown.items())[:1])))
        first = time.monotonic() - began
        asyncio.run(served(address, port, cold.shown))
        return first, time.monotonic() - began
    finally:
        system.stop()


def main(numbers: Iterable[int]) -> None:
    """Measure and print."""
    print("| Ingresses | first served | all served |\n|---:|---:|---:|")
    for number in numbers:
        place = Path(tempfile.mkdtemp(prefix="cfb-"))
        try:
            first, every = measure(number, place / "s")
            print(f"| {number:,} | {first:.1f} s | {every:.1f} s |", flush=True)
        finally:
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.cold_start", description=__doc__)
    parser.add_argument("ingresses", type=int, nargs="*", default=[1, 1_000])
    main(parser.parse_args().ingresses)
