"""Inject one fault after another under traffic and a renewal; report the cost of each as a row.

`make faults` writes the rows to docs/faults.md, and a test asserts the same of them: no failed
handshake, no lost change, one write per change in the ELB's audit log.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.controller.support.fake_kube import until
from tests.e2e.faults.proxy import Fault, Proxy
from tests.e2e.faults.system import FaultySystem
from tests.e2e.support import objects, tls
from tests.e2e.support.backend import Backend
from tests.e2e.support.site import SECRET, Site
from tests.support.certs import Pair

PATIENCE = 40.0
"""Seconds after which a change counts as lost."""


class Visitors:
    """A thread that opens verified connections to one site, one after another."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._come, daemon=True)
        self.requests = 0
        self.failures: list[str] = []

    def __enter__(self) -> Visitors:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _come(self) -> None:
        context = tls.trusting()
        while not self._ended.wait(0.01):
            self.requests += 1
            try:
                status = tls.get(self._site.address, self._site.host, context=context)
                if status != 200:
                    self.failures.append(f"status {status}")
            except OSError as error:
                self.failures.append(str(error))


@dataclass(frozen=True)
class Outcome:
    """The cost of one fault."""

    name: str
    requests: int
    failures: tuple[str, ...]
    hits: int
    """Requests of the controller that met the fault."""
    lost: int
    """Changes that were not served in the end."""
    heal: float
    """Seconds from the change (or the end of the fault, where it ends later) until it was served."""
    changes: int
    writes: int
    """Writes of the certificate in the audit log."""


class Stage:
    """The system, a site on it, and what faults do to them."""

    def __init__(self, system: FaultySystem, site: Site) -> None:
        self.system, self.site = system, site
        assert system.kube_proxy
        assert system.elb_proxy
        self.kube: Proxy = system.kube_proxy
        self.elb: Proxy = system.elb_proxy
        self.since = 0.0
        """When healing began (monotonic)."""

    async def renew(self) -> Pair:
        """Write a new certificate to the Secret and start the recovery clock."""
        pair = self.site.pair()
        self.since = time.monotonic()
        await asyncio.to_thread(self.site.put_secret, pair)
        return pair

    async def hit(self, proxy: Proxy, times: int = 1) -> None:
        """Wait until the fault has happened."""
        before = proxy.hits
        await until(lambda: proxy.hits >= before + times, PATIENCE)

    async def renewed_through(self, proxy: Proxy, *faults: Fault) -> Pair:
        """Renew through `faults`."""
        proxy.faults = list(faults)
        return await self.renew()


Act = Callable[[Stage], Awaitable[Pair]]


def on_put(**fault: object) -> Act:
    """Fail the renewal's PUT."""

    async def act(stage: Stage) -> Pair:
        return await stage.renewed_through(stage.elb, Fault("PUT", "/certificates/", **fault))  # type: ignore[arg-type]

    return act


async def elb_down(stage: Stage) -> Pair:
    await stage.elb.stop()
    pair = await stage.renew()
    await asyncio.sleep(1)
    await stage.elb.start()
    stage.since = time.monotonic()
    return pair


async def kube_down(stage: Stage) -> Pair:
    await stage.kube.stop()
    pair = await stage.renew()
    await asyncio.sleep(1)
    await stage.kube.start()
    stage.since = time.monotonic()
    return pair


async def gone(stage: Stage) -> Pair:
    """Cut every watch and answer 410 to its resumption."""
    stage.kube.faults = [Fault("GET", "watch=true", times=5, status=410)]
    stage.kube.cut()
    await stage.hit(stage.kube, 5)
    return await stage.renew()


async def watches_cut(stage: Stage) -> Pair:
    stage.kube.cut()
    return await stage.renew()


async def list_fails(stage: Stage) -> Pair:
    stage.kube.faults = [
        Fault("GET", "watch=true", times=5, status=410),
        Fault("GET", "limit=500", times=10, status=500),
    ]
    stage.kube.cut()
    return await stage.renew()


async def twice(stage: Stage) -> Pair:
    """Deliver every watch event twice."""
    stage.kube.faults = [Fault("GET", "watch=true", times=10, repeat=True)]
    stage.kube.cut()
    await stage.hit(stage.kube, 5)
    return await stage.renew()


async def half_written(stage: Stage) -> Pair:
    """Write the certificate first and its key a little later."""
    pair = stage.site.pair()
    content = objects.content(*pair)
    path = f"/api/v1/namespaces/{stage.site.name}/secrets/{SECRET}"
    for part in ("tls.crt", "tls.key"):
        stage.since = time.monotonic()
        await asyncio.to_thread(
            stage.site.kube.want,
            200,
            "PATCH",
            path,
            {"data": {part: content[part]}},
            kind="application/merge-patch+json",
        )
        await asyncio.sleep(0.5 if part == "tls.crt" else 0)
    return pair


async def stopped(stage: Stage) -> Pair:
    """Stop the controller (SIGSTOP) while the Secret changes."""
    controller = stage.system.child("controller")
    controller.send_signal(signal.SIGSTOP)
    pair = await stage.renew()
    await asyncio.sleep(1)
    controller.send_signal(signal.SIGCONT)
    stage.since = time.monotonic()
    return pair


async def killed_after_the_write(stage: Stage) -> Pair:
    """SIGKILL the controller after the ELB committed and before the answer arrives."""
    await stage.system.killed_at(stage.elb, "PUT", "/certificates/")
    controller = stage.system.child("controller")
    pair = await stage.renew()
    await until(lambda: controller.poll() is not None, PATIENCE)
    stage.since = time.monotonic()
    await asyncio.to_thread(stage.system.start_controller)
    return pair


FAULTS: dict[str, Act] = {
    "ELB answers 429 with Retry-After: 1": on_put(status=429, headers={"Retry-After": "1"}),
    "ELB answers 429": on_put(status=429),
    "ELB answers 503 with Retry-After: 1": on_put(status=503, headers={"Retry-After": "1"}),
    "ELB answers 500, three times": on_put(status=500, times=3),
    "connection to the ELB cut before the write": on_put(cut_before=True),
    "connection to the ELB cut after the write": on_put(cut_after=True),
    "ELB not reachable for a second": elb_down,
    "Kubernetes API not reachable for a second": kube_down,
    "watches cut": watches_cut,
    "410 Gone on every watch": gone,
    "410 Gone, and lists answer 500": list_fails,
    "every watch event twice": twice,
    "Secret written in two halves": half_written,
    "controller stopped (SIGSTOP) for a second, and resumed": stopped,
    "controller killed between the write and its answer": killed_after_the_write,
}
SLOW: dict[str, Act] = {"ELB takes a write and does not answer (time-out)": on_put(hang=True)}
"""Only for `make faults`: a time-out takes its time."""


async def outcome(stage: Stage, name: str, act: Act) -> Outcome:
    """Run one fault, from a synchronized system to a synchronized one."""
    hits, before = stage.kube.hits + stage.elb.hits, await asyncio.to_thread(_writes, stage)
    with Visitors(stage.site) as visitors:
        pair = await act(stage)
        lost = 0
        try:
            await asyncio.to_thread(stage.site.shows, pair, seconds=PATIENCE)
        except AssertionError:
            lost = 1
        healed = time.monotonic()
    stage.kube.faults, stage.elb.faults = [], []
    return Outcome(
        name=name,
        requests=visitors.requests,
        failures=tuple(visitors.failures),
        hits=stage.kube.hits + stage.elb.hits - hits,
        lost=lost,
        heal=healed - stage.since,
        changes=1,
        writes=await asyncio.to_thread(_writes, stage) - before,
    )


def _writes(stage: Stage) -> int:
    """Count writes of the site's certificate in the ELB's audit log."""
    identity = stage.site.own_certificate()["id"]
    project = stage.system.endpoints.elb.project_id
    path = f"/v3/{project}/certferry/audit?certificate_id={identity}&limit=500"
    return len(stage.site.elb.want(200, "GET", path)["records"])


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Run a system with one served site."""
    place = Path(tempfile.mkdtemp(prefix="cf-"))
    system = FaultySystem(place / "s")
    with Backend() as backend:
        try:
            await system.open()
            await asyncio.to_thread(system.start)
            site = Site(system, "faults", 10443, backend.port)
            pair = site.pair()
            await asyncio.to_thread(site.publish, pair)
            await asyncio.to_thread(site.shows, pair)
            yield Stage(system, site)
        finally:
            await system.close()
            await asyncio.to_thread(system.stop)
            shutil.rmtree(place, ignore_errors=True)
