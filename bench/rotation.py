"""One Secret write → the first client handshake that completes with the new certificate, again and again.

The clock starts right before the write is sent to the Kubernetes API and stops when a new connection
has been shown the new certificate. The client that looks is in this process, and looks without a pause;
after the first sight it goes on for a little, and must see nothing else.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from bench.floor import LOOKS_ON, WARM_UP
from bench.rows import Row
from tests.e2e.support import objects
from tests.e2e.support.backend import Backend
from tests.e2e.support.system import System
from tests.e2e.support.tls import Address, fingerprint, handshake, unverified
from tests.e2e.support.waiting import until
from tests.support.certs import Authority, Pair

NAMESPACE = "bench"
PER_INGRESS = 50
"""TLS entries of one Ingress."""
PATIENCE = 30.0
"""Seconds after which a rotation counts as lost, and the run as failed."""


class Bench:
    """A running system with `certificates` Secrets that are all served on one listener."""

    def __init__(self, system: System, certificates: int) -> None:
        self.system = system
        self.certificates = certificates
        self.authority = Authority("Bench CA")
        self.kube = system.kube()
        self._look = unverified()
        self.address = Address("", 0)

    def host(self, number: int) -> str:
        return f"h{number}.bench.example"

    def prepare(self, backend: int) -> None:
        """Everything in place, and the last certificate served."""
        self._post("/api/v1/namespaces", objects.namespace(NAMESPACE))
        self._post(f"/api/v1/namespaces/{NAMESPACE}/services", objects.service(NAMESPACE, "web"))
        slices = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
        self._post(slices, objects.endpoints(NAMESPACE, "web", backend))
        secrets = f"/api/v1/namespaces/{NAMESPACE}/secrets"
        for number in range(self.certificates):
            pair = self.authority.issue(self.host(number))
            self._post(secrets, objects.pair_secret(NAMESPACE, f"tls-{number}", pair))
        ingresses = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses"
        for first in range(0, self.certificates, PER_INGRESS):
            self._post(ingresses, self._ingress(first))
        self.address = until(self._status, "the ingress has an address", seconds=120)
        for number in {0, self.certificates - 1}:
            self._rotate(number, self.authority.issue(self.host(number)), patience=300)

    def _ingress(self, first: int) -> objects.Object:
        numbers = range(first, min(first + PER_INGRESS, self.certificates))
        entries = [{"hosts": [self.host(n)], "secretName": f"tls-{n}"} for n in numbers]
        return objects.ingress(NAMESPACE, f"i-{first:04}", "web", [self.host(first)], entries, {})

    def _post(self, path: str, body: objects.Object) -> None:
        self.kube.want(201, "POST", path, body)

    def _status(self) -> Address | None:
        path = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses/i-0000"
        found = self.kube.want(200, "GET", path)["status"]["loadBalancer"]["ingress"][0]
        return Address(found["ip"], found["ports"][-1]["port"])

    def run(self, rotations: int) -> list[float]:
        """Milliseconds of each rotation, spread over all certificates; all new ones are made before the first."""
        numbers = [turn * 7919 % self.certificates for turn in range(rotations)]
        pairs = [self.authority.issue(self.host(number)) for number in numbers]
        return [self._rotate(number, pair, PATIENCE) for number, pair in zip(numbers, pairs, strict=True)]

    def _rotate(self, number: int, pair: Pair, patience: float) -> float:
        host, wanted = self.host(number), fingerprint(pair.certificate)
        path = f"/api/v1/namespaces/{NAMESPACE}/secrets/tls-{number}"
        body = {"data": objects.content(*pair)}
        started = time.perf_counter()
        self.kube.send("PATCH", path, body, kind="application/merge-patch+json")
        while self._shown(host) != wanted:
            if time.perf_counter() - started > patience:
                raise TimeoutError(f"{host} was not served within {patience:g} s")
        taken = time.perf_counter() - started
        answer = self.kube.receive()
        assert answer.status == 200, answer
        while time.perf_counter() < started + taken + LOOKS_ON:
            assert self._shown(host) == wanted, f"{host}: the certificate before came back"
        return taken * 1000

    def _shown(self, host: str) -> str:
        try:
            return handshake(self.address, host, self._look)
        except OSError:
            return ""  # nothing listens yet


def measure(certificates: int, rotations: int, state: Path, settings: dict[str, str], floor: list[float]) -> Row:
    """A fresh system in `state`, filled, then rotated."""
    system = System(state, settings)
    with Backend() as backend:
        system.start()
        try:
            bench = Bench(system, certificates)
            bench.prepare(backend.port)
            quiet(system)
            bench.run(WARM_UP)
            before, spent = writes(system), cpu(system)
            times = bench.run(rotations)
            used = {name: (value - spent[name]) / rotations for name, value in cpu(system).items()}
            quiet(system)
            return Row(certificates, times, floor, writes(system) - before, used)
        finally:
            system.stop()


def quiet(system: System) -> None:
    """Wait until the ELB saw no write for a second and all processes are idle."""
    last = None
    while last != (last := (writes(system), round(sum(cpu(system).values()) / 250))):
        time.sleep(1)


def writes(system: System) -> int:
    """Requests that changed something on the ELB, by its audit log."""
    (store,) = system.state.rglob("elb.db")
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as audit:
        (count,) = audit.execute("SELECT COUNT(DISTINCT request_id) FROM audit").fetchone()
    return int(count)


def cpu(system: System) -> dict[str, float]:
    """CPU milliseconds that each process has used so far, this one (the client) among them."""
    pids = system.endpoints.processes | {"client": os.getpid()}
    return {name: cpu_milliseconds(pid) for name, pid in sorted(pids.items())}


def cpu_milliseconds(pid: int) -> float:
    """Return the CPU milliseconds that a process has used so far; 0 if it does not exist."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")
