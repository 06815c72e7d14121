"""The embedded Kubernetes API under load: `python -m bench kube` measures it and writes its page.

10,000 Secrets of 4 KB: how long a list takes, how much memory the server needs at most, how soon it is
back after kill -9; how late 20 watchers hear of 300 writes a second; and how long the hostile requests of a user of
role `view` delay another user. `python -m bench kube list` runs
one row alone. The server is a process of its own; its clients share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import platform
import shutil
import ssl
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import yaml
from yarl import URL

from tests.kube.support.hostile import REQUESTS
from tests.kube.support.server_process import Process

REPORT: Final = Path(__file__).parent.parent / "docs" / "benchmarks-kubernetes.md"
SECRETS: Final = 10_000
SIZE: Final = 4_096
RATE: Final = 300
WATCHERS: Final = 20
SECONDS: Final = 10
PATH: Final = "/api/v1/namespaces/default/secrets"


@dataclass(frozen=True)
class Measured:
    """One line of the table."""

    what: str
    value: str
    promised: str
    met: bool


class Load:
    """A server with many Secrets, and one client's session."""

    def __init__(self, process: Process, session: aiohttp.ClientSession, url: str) -> None:
        self.process, self.session, self.url = process, session, url

    async def fill(self) -> None:
        """Write the Secrets, 32 at a time."""
        names = iter(range(SECRETS))

        async def work() -> None:
            for number in names:
                async with self.session.post(self.url + PATH, data=_secret(f"s{number}")) as answer:
                    assert answer.status == 201, await answer.text()

        await asyncio.gather(*(work() for _ in range(32)))

    def cpu(self) -> float:
        """CPU seconds that the server has used since it started."""
        assert self.process.process is not None
        fields = Path(f"/proc/{self.process.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, line: str) -> float:
        """MB of the server's memory, by a line of /proc: VmRSS is now, VmHWM the most there ever was."""
        assert self.process.process is not None
        status = Path(f"/proc/{self.process.process.pid}/status").read_text()
        return next(int(s.split()[1]) for s in status.splitlines() if s.startswith(line)) / 1024


async def memory_of(load: Load) -> list[Measured]:
    """The most memory while the Secrets were written and listed."""
    peak, now = load.memory("VmHWM"), load.memory("VmRSS")
    return [
        Measured("memory, at most", f"{peak:.0f} MB", "< 300 MB", peak < 300),
        Measured("memory, at the end", f"{now:.0f} MB", "", True),
    ]


async def lists(load: Load) -> list[Measured]:
    """The median of five full lists, and of five in pages of 500 as clients ask."""
    whole = [await _timed(load, "") for _ in range(5)]
    paged = []
    for _ in range(5):
        start, token = time.monotonic(), ""
        while True:
            body = await _get(load, f"?limit=500&continue={token}")
            token = msgspec.json.decode(body, type=_List).metadata.get("continue", "")
            if not token:
                break
        paged.append(time.monotonic() - start)
    one, many = statistics.median(whole), statistics.median(paged)
    return [
        Measured(f"list of {SECRETS:,} Secrets", f"{one:.2f} s", "< 2 s", one < 2),
        Measured("the same in pages of 500", f"{many:.2f} s", "< 2 s", many < 2),
    ]


async def watches(load: Load) -> list[Measured]:
    """How late watchers hear of writes that come at a steady rate."""
    sent: dict[str, float] = {}
    late: list[float] = []
    ready = asyncio.Barrier(WATCHERS + 1)
    watchers = [asyncio.create_task(_watch(load, sent, late, ready)) for _ in range(WATCHERS)]
    await ready.wait()
    tasks = []
    start, used = time.monotonic(), load.cpu()
    for number in range(RATE * SECONDS):
        await asyncio.sleep(max(0.0, start + number / RATE - time.monotonic()))
        tasks.append(asyncio.create_task(_write(load, number, sent)))
    await asyncio.gather(*tasks)
    rate = len(tasks) / (time.monotonic() - start)
    async with asyncio.timeout(30):
        await asyncio.gather(*watchers)
    late.sort()
    p50, p99 = 1000 * late[len(late) // 2], 1000 * late[len(late) * 99 // 100]
    return [
        Measured(f"writes a second with {WATCHERS} watchers", f"{rate:.0f}", "≥ 300", rate >= 0.99 * RATE),
        Measured("event, p50", f"{p50:.1f} ms", "< 30 ms", p50 < 30),
        Measured("event, p99", f"{p99:.1f} ms", "", True),
        Measured("CPU of the server meanwhile", f"{load.cpu() - used:.1f} s", "", True),
    ]


async def ready(load: Load) -> list[Measured]:
    """How soon a killed server answers again."""
    load.process.kill()
    start = time.monotonic()
    load.process.start()
    spent = time.monotonic() - start
    return [
        Measured(f"ready after kill -9, with {SECRETS:,} Secrets", f"{spent:.2f} s", "< 2 s", spent < 2),
        Measured("CPU of the server until then", f"{load.cpu():.2f} s", "", True),
    ]


async def hostile(load: Load) -> list[Measured]:
    """How long another user's read takes at most while a user of role `view` sends hostile requests, one by one."""
    config = yaml.safe_load((load.process.state / "kubeconfig-view").read_text())
    viewer = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
    usual = await _slowest_read(load, asyncio.sleep(1))
    worst: list[tuple[float, str]] = []
    for name, (method, path, body, media) in REQUESTS.items():

        async def send(method: str = method, path: str = path, body: bytes = body, media: str = media) -> None:
            headers = {**viewer, "Content-Type": media}
            url = load.url + path
            async with load.session.request(method, URL(url, encoded=True), data=body, headers=headers) as answer:
                assert answer.status < 500, f"{path[:80]}: {answer.status}"
                await answer.read()

        slowest = await _slowest_read(load, send())
        worst.append((slowest, name))
    slowest, name = max(worst)
    what = f"another user's read during {len(REQUESTS)} hostile requests of a `view` user, at most"
    return [
        Measured(f"{what} ({name})", f"{slowest:.0f} ms", "< 100 ms", slowest < 100),
        Measured("the same without them", f"{usual:.0f} ms", "", True),
    ]


async def _slowest_read(load: Load, meanwhile: Coroutine[Any, Any, None]) -> float:
    """Return the slowest of the reads that are sent until `meanwhile` ends, in ms."""
    task, slowest = asyncio.create_task(meanwhile), 0.0
    while not task.done():
        start = time.monotonic()
        async with load.session.get(f"{load.url}/api/v1/namespaces/default") as answer:
            assert answer.status == 200
            await answer.read()
        slowest = max(slowest, 1000 * (time.monotonic() - start))
        await asyncio.sleep(0.002)
    await task
    return slowest


ROWS: Final[dict[str, Callable[[Load], Awaitable[list[Measured]]]]] = {
    "list": lists,
    "watch": watches,
    "memory": memory_of,
    "hostile": hostile,
    "ready": ready,
}


class _List(msgspec.Struct):
    metadata: dict[str, Any]


async def _get(load: Load, query: str) -> bytes:
    async with load.session.get(load.url + PATH + query) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read()


async def _timed(load: Load, query: str) -> float:
    start = time.monotonic()
    body = await _get(load, query)
    spent = time.monotonic() - start
    assert len(body) > SECRETS * SIZE
    return spent


async def _write(load: Load, number: int, sent: dict[str, float]) -> None:
    mark = f"m{number}"
    sent[mark] = time.monotonic()
    patch = msgspec.json.encode({"metadata": {"labels": {"mark": mark}}})
    media = {"Content-Type": "application/merge-patch+json"}
    url = f"{load.url}{PATH}/s{number % SECRETS}"
    async with load.session.patch(url, data=patch, headers=media) as answer:
        assert answer.status == 200, await answer.text()


async def _watch(load: Load, sent: dict[str, float], late: list[float], ready: asyncio.Barrier) -> None:
    revision = (msgspec.json.decode(await _get(load, "?limit=1"), type=_List)).metadata["resourceVersion"]
    url = f"{load.url}{PATH}?watch=1&resourceVersion={revision}"
    async with load.session.get(url) as answer:
        await ready.wait()
        seen = 0
        async for line in answer.content:
            at = line.index(b'"mark":"') + 8
            late.append(time.monotonic() - sent[line[at : line.index(b'"', at)].decode()])
            seen += 1
            if seen == RATE * SECONDS:
                return


def _secret(name: str) -> bytes:
    # Random, so that nothing on the way can pack it.
    data = base64.b64encode(os.urandom(SIZE * 3 // 4)).decode()
    return msgspec.json.encode({"metadata": {"name": name}, "type": "Opaque", "data": {"value": data}})


async def run(names: list[str], place: Path) -> list[Measured]:
    """The rows `names`, on one server in the folder `place`."""
    process = Process(place)
    process.start()
    try:
        config = yaml.safe_load((place / "kubeconfig").read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        # As many connections as a busy client has: those of the watchers, and some to write.
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=authority), limit=WATCHERS + 16)
        headers = {"Authorization": f"Bearer {user['token']}", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(
            connector=connector, headers=headers, read_bufsize=2**20, timeout=aiohttp.ClientTimeout(120)
        ) as session:
            load = Load(process, session, cluster["server"])
            await load.fill()
            return [line for name in names for line in await ROWS[name](load)]
    finally:
        process.end()


def main(arguments: list[str]) -> None:
    """Measure, print; write the page when everything was measured."""
    parser = argparse.ArgumentParser(prog="python -m bench kube", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"one of {', '.join(ROWS)}; all unless told")
    parser.add_argument("--report", type=Path, default=REPORT)
    asked = parser.parse_args(arguments)
    if unknown := set(asked.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    place, busy = Path(tempfile.mkdtemp(prefix="cfk-")), os.getloadavg()[0]
    try:
        found = asyncio.run(run(asked.rows or list(ROWS), place))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    lines = ["| what | measured | promised | |", "|---|---:|---:|---|"]
    for m in found:
        word = ("met" if m.met else "**not met**") if m.promised else ""
        lines.append(f"| {m.what} | {m.value} | {m.promised} | {word} |")
    table = "\n".join(lines)
    print(table)
    if not asked.rows:
        asked.report.write_text(_page(table, busy))


def _page(table: str, busy: float) -> str:
    where = (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, "
        f"Python {platform.python_version()}, load {busy:.1f} before the run, nice {os.nice(0)}, `python -m bench kube`"
    )
    return f"""# Benchmarks of the embedded Kubernetes API

`make bench ARGS=kube` measures and writes this page, also if a target is missed. The server is a separate process,
which encrypts and syncs every write as usual; the clients (one process) share the machine. An event's time runs from
the sending of its write until a watcher has read it.

{where}.

{table}
"""
