"""10,000 Ingresses over 2,000 Secrets: how long until everything is in place, what the controller keeps, what one change costs.

Run as ``python -m bench.scale``; `make bench` does. The whole system runs as processes; the controller alone is
measured, and nothing is served: the ELB runs without Envoy. Each load balancer has 250 Ingresses on one
HTTPS listener.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from certferry.elb.client.client import LOADBALANCERS, ElbClient
from certferry.elb.client.credentials import Credentials
from certferry.kube.client.client import (
    ENDPOINT_SLICE,
    INGRESS,
    NAMESPACE,
    SECRET,
    SERVICE,
    Kind,
    KubeClient,
    KubeError,
)
from certferry.kube.client.kubeconfig import load
from tests.e2e.support import objects
from tests.e2e.support.http import JsonApi
from tests.e2e.support.separate_processes import ApartSystem
from tests.e2e.support.waiting import until
from tests.support.certs import Authority

SPACE: Final = "scale"
PER_BALANCER: Final = 250
PARALLEL: Final = 16
CHANGES: Final = 50
SETTINGS: Final = {
    "CERTFERRY_ELB_LIMITS": json.dumps(
        {
            "loadbalancer": 1000,
            "listener": 1000,
            "certificate": 5000,
            "pool": 20000,
            "member": 20000,
            "healthmonitor": 20000,
            "l7policy": 20000,
            "l7policies_per_listener": 2000,
            "sni_certificates": 2000,
            "sni_names": 2000,
        }
    ),
    "CERTFERRY_CONTROLLER_MAX_SNI_CERTIFICATES": "2000",
    "CERTFERRY_CONTROLLER_MAX_SNI_NAMES": "2000",
    # 10,000 names are as many filter chains: Envoy's memory is not what is measured here
    "CERTFERRY_ELB_ENVOY": "false",
    "CERTFERRY_CONTROLLER_PROBE_DEADLINE": "0.1",
}


@dataclass(frozen=True)
class Found:
    """What was measured."""

    ingresses: int
    secrets: int
    cold: float
    """Seconds from the controller's start until all is in place on an empty ELB."""
    warm: float
    """The same for a restart that finds everything in place."""
    memory: float
    """Its resident memory in MB, the highest that was seen."""
    decision: float
    """Milliseconds of the controller between a Secret's event and its write, on average."""
    shared_by: int
    """Ingresses that use one Secret,"""
    shared_writes: int
    """and ELB writes when its content changes."""

    def verdicts(self) -> list[tuple[str, str, str, bool | None]]:
        """(what, measured, promised, met); None where nothing was promised."""
        return [
            ("cold start to everything in place", f"{self.cold:.0f} s", "", None),
            ("restart until ready", f"{self.warm:.0f} s", "", None),
            ("controller's memory, at most", f"{self.memory:.0f} MB", "< 400 MB", self.memory < 400),
            ("one Secret change, controller's time", f"{self.decision:.1f} ms", "< 30 ms", self.decision < 30),
            (
                f"ELB writes for a Secret of {self.shared_by:,} Ingresses",
                f"{self.shared_writes}",
                "1",
                self.shared_writes == 1,
            ),
        ]


class Scale:
    """A running system, filled."""

    def __init__(self, system: ApartSystem, ingresses: int, secrets: int) -> None:
        self.system, self.ingresses, self.secrets = system, ingresses, secrets
        self.authority = Authority("Scale CA")
        self.balancers: list[str] = []
        self.per_balancer = PER_BALANCER
        self.shared = min(1000, ingresses // 2)
        """So many Ingresses use the first Secret."""

    async def fill(self) -> None:
        """All objects, with the controller stopped: it is to find everything at once."""
        door = self.system.endpoints.elb
        who = Credentials(project_id=door.project_id, access_key=door.access_key, secret_key=door.secret_key)
        async with ElbClient(door.url, who) as elb:
            for number in range(-(-self.ingresses // self.per_balancer)):
                made = await elb.create(LOADBALANCERS, {"name": f"scale-{number}", "guaranteed": True})
                self.balancers.append(str(made["id"]))
        async with KubeClient(load(Path(self.system.endpoints.kubeconfig))) as kube:
            await kube.create(NAMESPACE, objects.namespace(SPACE))
            await kube.create(SERVICE, objects.service(SPACE, "web"), SPACE)
            await kube.create(ENDPOINT_SLICE, objects.endpoints(SPACE, "web", 9), SPACE)
            secrets = ((SECRET, self.secret(n)) for n in range(self.secrets))
            await _all(kube, secrets)
            await _all(kube, ((INGRESS, self.ingress(n)) for n in range(self.ingresses)))

    def secret(self, number: int) -> dict[str, Any]:
        return objects.pair_secret(SPACE, f"tls-{number}", self.authority.issue(*self._names(number)))

    def ingress(self, number: int) -> dict[str, Any]:
        """The first thousand share one Secret; the others spread over the rest."""
        host, secret = self._host(number), f"tls-{self._secret_of(number)}"
        annotations = {"kubernetes.io/elb.id": self.balancers[number // self.per_balancer]}
        entry = [{"hosts": [host], "secretName": secret}]
        return objects.ingress(SPACE, f"i-{number:05}", "web", [host], entry, annotations)

    def _secret_of(self, number: int) -> int:
        return 0 if number < self.shared else 1 + number % (self.secrets - 1)

    def _host(self, number: int) -> str:
        return f"h{number}.s{self._secret_of(number)}.scale.example"

    def _names(self, secret: int) -> list[str]:
        return [f"*.s{secret}.scale.example"]

    async def renew(self, secret: int) -> None:
        async with KubeClient(load(Path(self.system.endpoints.kubeconfig))) as kube:
            pair = self.authority.issue(*self._names(secret))
            await kube.merge(SECRET, f"tls-{secret}", {"data": objects.content(*pair)}, SPACE)


async def _all(kube: KubeClient, made: Iterator[tuple[Kind, dict[str, Any]]]) -> None:
    async def worker() -> None:
        for kind, body in made:
            try:
                await kube.create(kind, body, SPACE)
            except KubeError as error:
                if error.status != 409:
                    raise

    await asyncio.gather(*(worker() for _ in range(PARALLEL)))


def measure(ingresses: int, secrets: int, state: Path) -> Found:
    """A fresh system, filled, then started, changed, and started again."""
    system = ApartSystem(state)
    system.settings |= SETTINGS
    system.start_kube()
    try:
        system.prepare()
        scale = Scale(system, ingresses, secrets)
        _say(f"making {ingresses:,} Ingresses and {secrets:,} Secrets")
        asyncio.run(scale.fill())
        _say("cold start")
        began = time.monotonic()
        system.start_controller(seconds=900)
        cold = time.monotonic() - began
        _say(f"in place after {cold:.0f} s; {CHANGES} changes")
        before = _decisions(system)
        for number in range(CHANGES):
            count = _decisions(system)[1]
            asyncio.run(scale.renew(1 + number * 7919 % (secrets - 1)))
            until(lambda: _decisions(system)[1] > count, "a change is written")  # noqa: B023
        after = _decisions(system)
        writes = _metric(system, "certferry_elb_writes_total")
        asyncio.run(scale.renew(0))
        until(lambda: _metric(system, "certferry_elb_writes_total") > writes, "the shared one is written")
        rounds = _metric(system, "certferry_reconcile_seconds_count")
        until(lambda: _metric(system, "certferry_reconcile_seconds_count") > rounds, "a whole round", seconds=120)
        shared_writes = int(_metric(system, "certferry_elb_writes_total") - writes)
        controller = system.child("controller")
        memory = _memory(controller.pid)
        controller.terminate()
        controller.wait(30)
        _say("restart")
        began = time.monotonic()
        system.start_controller(seconds=300)
        warm = time.monotonic() - began
        return Found(
            ingresses=ingresses,
            secrets=secrets,
            cold=cold,
            warm=warm,
            memory=max(memory, _memory(system.child("controller").pid)),
            decision=1000 * (after[0] - before[0]) / (after[1] - before[1]),
            shared_by=scale.shared,
            shared_writes=shared_writes,
        )
    finally:
        system.stop()


def _decisions(system: ApartSystem) -> tuple[float, float]:
    """(seconds, how many)."""
    name = "certferry_rotation_write_delay_seconds"
    return _metric(system, f"{name}_sum"), _metric(system, f"{name}_count")


def _metric(system: ApartSystem, name: str) -> float:
    """The sum of a metric of the controller."""
    text = str(JsonApi(system.endpoints.metrics.url, {}).call("GET", "/metrics").body)
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def _memory(pid: int) -> float:
    """The highest resident memory of a process so far, in MB (Linux)."""
    text = Path(f"/proc/{pid}/status").read_text()
    (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE)
    return int(kilobytes) * 1024 / 1e6


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(found: Found) -> str:
    """Its Markdown."""
    lines = [
        f"{found.ingresses:,} Ingresses over {found.secrets:,} Secrets, {PER_BALANCER} Ingresses per load balancer:",
        "",
        "| what | measured | promised | |",
        "|---|---:|---:|---|",
    ]
    words = {None: "", True: "met", False: "**not met**"}
    lines += [f"| {w} | {m} | {p} | {words[met]} |" for w, m, p, met in found.verdicts()]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--ingresses", type=int, default=10_000)
    parser.add_argument("--secrets", type=int, default=2_000)
    asked = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="cfb-"))
    try:
        print(table(measure(asked.ingresses, asked.secrets, place / "s")))
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
