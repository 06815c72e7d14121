"""`python -m bench console`: how long the console's pages take with 10,000 Secrets, in a real Chromium.

Writes docs/benchmarks-console.md, met or not. A time runs from the request until the page's load event.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from playwright.sync_api import Page, sync_playwright

from certferry.demo import ca
from certferry.kube.client.client import NAMESPACE, SECRET, KubeClient
from certferry.kube.client.kubeconfig import load
from tests.support.chromium import CHROMIUM

REPORT: Final = Path(__file__).parent.parent / "docs" / "benchmarks-console.md"
PROMISED: Final = 1.0
"""Seconds for the first page."""
NAMESPACES: Final = 20
AT_A_TIME: Final = 16
TIMES: Final = 5

INTRODUCTION: Final = """\
# Benchmarks of the console

`make bench ARGS=console` measures and writes this page, also if a target is missed. Kubernetes API, ELB, controller and
console run as in `certferry up`, and share the machine with Chromium. A time runs from the request until the page's
load event, the median of {times}. *Cold* is the login and the first page, while the console reads the cluster.
"""


class Row(NamedTuple):
    """A page and its times in seconds."""

    what: str
    times: list[float]
    promised: float | None = None

    @property
    def line(self) -> str:
        """Of the table."""
        median = statistics.median(self.times)
        met = "" if self.promised is None else "met" if median < self.promised else "**not met**"
        promised = f"< {self.promised:g} s" if self.promised else ""
        return f"| {self.what} | {median:.2f} s | {promised} | {met} |"


def main(arguments: list[str]) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench console", description=__doc__)
    parser.add_argument("--secrets", type=int, default=10_000)
    parser.add_argument("--report", type=Path, default=REPORT)
    asked = parser.parse_args(arguments)
    assert CHROMIUM, "there is no Chromium here"
    load_before = os.getloadavg()[0]
    with _system() as told:
        print(f"{asked.secrets:,} Secrets are written", file=sys.stderr, flush=True)
        asyncio.run(_fill(told, asked.secrets))
        rows = _measure(told, asked.secrets)
    where = (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, "
        f"Python {platform.python_version()}, load {load_before:.1f} before the run, `python -m bench console`."
    )
    table = "\n".join(["| page | measured | promised | |", "|---|---:|---:|---|", *(row.line for row in rows)])
    asked.report.write_text(f"{INTRODUCTION.format(times=TIMES)}\n{where}\n\n{table}\n")
    print(table)


def _measure(told: dict[str, Any], secrets: int) -> list[Row]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_context(base_url=told["console"]["url"]).new_page()
        listed = "/clusters/local/secrets"
        page.goto(f"/login?next={listed}")
        page.get_by_label("User name").fill(told["elb"]["username"])
        page.get_by_label("Password").fill(told["elb"]["password"])
        began = time.perf_counter()
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"**{listed}")
        cold = Row(f"Secrets, {secrets:,} rows, cold", [time.perf_counter() - began])
        assert f"{secrets:,}".replace(",", "") in page.locator("#count").inner_text()
        rows = [
            Row(f"Secrets, {secrets:,} rows, first page", _times(page, listed), PROMISED),
            cold,
            Row("sorted by expiry", _times(page, f"{listed}?sort=-expires")),
            Row("searched", _times(page, f"{listed}?q=s-77")),
            Row("the last page", _times(page, f"{listed}?page={-(-secrets // 25)}")),
            Row("Overview", _times(page, "/clusters/local")),
            Row(f"All certificates, {secrets:,} rows", _times(page, "/certificates")),
        ]
        browser.close()
    return rows


def _times(page: Page, path: str) -> list[float]:
    return [_time(page, path) for _ in range(TIMES)]


def _time(page: Page, path: str) -> float:
    began = time.perf_counter()
    answer = page.goto(path)
    assert answer, path
    assert answer.status == 200, path
    return time.perf_counter() - began


@contextmanager
def _system() -> Iterator[dict[str, Any]]:
    place = Path(tempfile.mkdtemp(prefix="cfb-"))
    command = [sys.executable, "-m", "certferry", "up", "--state", str(place / "s"), "--no-demo"]
    up = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        endpoints = place / "s" / "endpoints.json"
        while not endpoints.exists():
            assert up.poll() is None, "certferry up ended"
            time.sleep(0.1)
        yield json.loads(endpoints.read_text())
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)
        shutil.rmtree(place, ignore_errors=True)


async def _fill(told: dict[str, Any], count: int) -> None:
    """TLS Secrets, each with one of a few certificates that end at different times."""
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as folder:
        authority = ca.open_authority(Path(folder), now)
        pairs = [ca.good(authority, f"site-{n}.example", now, 5 + 7 * n) for n in range(50)]
    data = [{"tls.crt": _base64(p.certificate), "tls.key": _base64(p.key)} for p in pairs]
    turn = asyncio.Semaphore(AT_A_TIME)
    async with KubeClient(load(Path(told["kubeconfig"]))) as kube:
        for number in range(NAMESPACES):
            await kube.create(NAMESPACE, {"metadata": {"name": f"ns-{number}"}})

        async def one(number: int) -> None:
            namespace = f"ns-{number % NAMESPACES}"
            meta = {"name": f"s-{number}", "namespace": namespace}
            body = {"metadata": meta, "type": "kubernetes.io/tls", "data": data[number % len(data)]}
            async with turn:
                await kube.create(SECRET, body, namespace)

        await asyncio.gather(*map(one, range(count)))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
