"""On a full disk `certferry up`, its programs and its Envoy go on, also through the death of a program."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from certferry.demo.ca import HOST
from tests.e2e.support.system import System, alive
from tests.e2e.support.waiting import until

NAMESPACE: Final = ("unshare", "--user", "--map-root-user", "--mount")
MOUNT: Final = 'mount -t tmpfs -o size=48m tmpfs "$0" && exec "$@"'

pytestmark = pytest.mark.skipif(
    not os.environ.get("CI")
    and (
        not shutil.which("unshare")
        or subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode != 0
    ),
    reason="needs a mount namespace of its own; in CI it fails without one",
)


class SmallDisk(System):
    """`certferry up` with its demo and a state directory on a disk of its own, which other processes see in /proc."""

    def __init__(self, disk: Path) -> None:
        super().__init__(disk / "s")
        self._disk, self.vip = disk, ""

    def command(self) -> list[str]:
        up = [sys.executable, "-m", "certferry", "up", "--state", str(self._disk / "s")]
        return [*NAMESPACE, "sh", "-c", MOUNT, str(self._disk), *up]

    def _ready(self) -> bool:
        assert self.process
        self.state = Path(f"/proc/{self.process.pid}/root{self._disk}/s")
        return super()._ready()

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Leave no byte on the disk within the block."""
        ballast = self.state.parent / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        yield
        ballast.unlink()

    def serves(self) -> bool:
        """Whether a new client gets the demo's page."""
        return _status(f"https://{self.vip}:{self.endpoints.port_map['443']}/", {"Host": HOST}) == 200

    def answering(self, name: str) -> bool:
        """Whether the program `name` answers now."""
        doors = self.endpoints
        kube = json.loads((self.state / "up.json").read_text())["kube_port"]
        return _status(
            {
                "kube": f"https://127.0.0.1:{kube}/readyz",
                "elb": f"{doors.elb.url}/healthz",
                "controller": doors.metrics.url.replace("/metrics", "/readyz"),
                "console": f"{doors.console.url}/healthz",
            }[name]
        ) in (200, 401)


def _status(url: str, headers: dict[str, str] | None = None) -> int:
    request = urllib.request.Request(url, headers=headers or {})
    try:
        return int(urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=5).status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture
def system(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = tmp_path / "disk"
    disk.mkdir()
    running = SmallDisk(disk)
    running.start()
    running.vip = running.elb().want(200, "GET", running.elb_path("loadbalancers"))["loadbalancers"][0]["vip_address"]
    yield running
    assert running.stop() == 0


@pytest.mark.timeout(180)
def test_a_program_that_dies_on_a_full_disk_comes_back_and_traffic_goes_on(system: SmallDisk) -> None:
    assert system.process
    former, envoy = system.endpoints.processes, system.pid("envoy")
    with system.full():
        for name in ("console", "controller", "kube", "elb"):
            os.kill(former[name], signal.SIGKILL)
            until(partial(system.answering, name), f"{name} answers again on a full disk", seconds=40)
            assert system.serves()
        assert system.process.poll() is None
        assert alive(envoy)
    until(lambda: system.endpoints.processes["elb"] != former["elb"], "endpoints.json is written again")
    assert system.pid("envoy") == envoy
    output = system.output.read_text()
    assert "Traceback" not in output
    assert output.count("cannot be written") == 1
