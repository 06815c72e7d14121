"""The floor: a certificate handed straight to the xDS server → the first handshake that shows it.

The least that a rotation costs, because nothing is stored, watched or sent over an API. ``make bench``
compares the whole system with it. Alone: ``python -m bench.floor [CERTIFICATES] [ROTATIONS]``.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec

from bench.prober import Prober
from certferry.core.model.elb import Certificate, Listener, LoadBalancer, State
from certferry.core.x509.pem import KeyPair, parse_pair
from certferry.elb.server.dataplane.envoy.supervisor import EnvoySupervisor
from certferry.elb.server.dataplane.xds.server import AdsServer
from certferry.elb.server.store.projection import Publication
from certferry.runtime.latest import Latest
from certferry.settings import EnvoyOptions
from tests.support.certs import authority

WARM_UP: Final = 50
"""Rotations before the first that counts: a process that was idle for seconds is slow at first."""
LOOKS_ON: Final = 0.004
"""Seconds for which the client goes on looking after the first sight, before the next rotation."""
_ROTATED = "c0.bench.example"


async def floor(certificates: int, rotations: int) -> list[float]:
    """Milliseconds of each rotation, on a listener with `certificates` certificates."""
    port = _free_port()
    pairs = {f"c{n}": _issue(f"c{n}.bench.example") for n in range(certificates)}
    state = _state(port, pairs)
    keys = {pair.chain.digest: pair.key for pair in pairs.values()}
    renewals = [_issue(_ROTATED) for _ in range(WARM_UP + rotations)]
    directory = Path(tempfile.mkdtemp(prefix="certferry-"))
    publications = Latest(Publication(state, keys))
    ads = AdsServer(publications)
    envoy = EnvoySupervisor(directory, directory / "run", directory / "run" / "xds.sock", EnvoyOptions())
    await ads.start(directory / "run" / "xds.sock")
    await envoy.start()
    try:
        async with Prober("127.0.0.1", port, _ROTATED) as prober:
            await prober.sees(pairs["c0"].chain.fingerprint, seconds=120)
            spent = []
            for pair in renewals:
                before = time.monotonic()
                publications.set(_renewed(publications.value, pair))
                spent.append(1000 * (await prober.sees(pair.chain.fingerprint) - before))
                await asyncio.sleep(LOOKS_ON)
            return spent[WARM_UP:]
    finally:
        await envoy.stop()
        await ads.stop()
        shutil.rmtree(directory)


def _state(port: int, pairs: dict[str, KeyPair]) -> State:
    names = tuple(pairs)
    listener = Listener(
        id="web",
        loadbalancer_id="lb",
        protocol="HTTPS",
        protocol_port=port,
        default_tls_container_ref=names[0],
        sni_container_refs=names,
        tls_ciphers_policy="tls-1-2-fs-with-1-3",
        http2_enable=True,
    )
    certificates = {n: Certificate(id=n, chain=p.chain, domain=p.chain.names) for n, p in pairs.items()}
    return State(
        loadbalancers={"lb": LoadBalancer(id="lb", vip_address="127.0.0.1")},
        listeners={"web": listener},
        certificates=certificates,
    )


def _renewed(before: Publication, pair: KeyPair) -> Publication:
    renewed = msgspec.structs.replace(before.state.certificates["c0"], chain=pair.chain)
    state = msgspec.structs.replace(before.state, certificates={**before.state.certificates, "c0": renewed})
    return Publication(state, {**before.keys, pair.chain.digest: pair.key})


def _issue(name: str) -> KeyPair:
    return parse_pair(*authority().issue(name))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    """Prints one line."""
    certificates = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    rotations = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    spent = sorted(asyncio.run(floor(certificates, rotations)))
    p99 = spent[min(len(spent) - 1, int(0.99 * len(spent)))]
    print(
        f"{certificates} certificates, {rotations} rotations:"
        f" median {statistics.median(spent):.1f} ms, p99 {p99:.1f} ms, max {spent[-1]:.1f} ms"
    )


if __name__ == "__main__":
    main()
