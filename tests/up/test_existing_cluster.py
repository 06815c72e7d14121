"""`certferry up --kubeconfig`: ELB, console and controller beside a cluster that exists. Here it is `certferry kube`."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from certferry.demo import ca, objects
from certferry.kube.client.client import KubeClient
from certferry.kube.client.kubeconfig import load
from certferry.up.endpoints_file import Endpoints
from tests.cli.test_cli import certferry
from tests.e2e.support.waiting import until


@contextmanager
def running(tmp_path: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    with (tmp_path / f"{words[0]}.log").open("wb") as output:
        command = [sys.executable, "-m", "certferry", *words]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def test_an_ingress_of_an_existing_cluster_is_served(tmp_path: Path) -> None:
    kube, state = tmp_path / "kube", tmp_path / "state"
    with running(tmp_path, "kube", "--state", str(kube), "--listen", "127.0.0.1:0", "--loopback-endpoints"):
        kubeconfig = kube / "kubeconfig"
        until(kubeconfig.exists, "the cluster runs")
        with running(tmp_path, "up", "--state", str(state), "--kubeconfig", str(kubeconfig)):
            file = state / "endpoints.json"
            until(file.exists, "all is ready", seconds=60)
            endpoints = msgspec.json.decode(file.read_bytes(), type=Endpoints)
            assert endpoints.kubeconfig == str(kubeconfig)
            assert "kube" not in endpoints.processes
            asyncio.run(_create(kubeconfig, tmp_path))
            until(lambda: "served" in certferry("cert", "ls", "--state", str(state)).stdout, "the host is served")
            why = certferry("why", ca.HOST, "--state", str(state))
            assert why.returncode == 0, why.stdout + why.stderr
        other = certferry("up", "--state", str(state))
        assert "belongs to an existing cluster: give its --kubeconfig" in other.stderr


def test_a_kubeconfig_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    refused = certferry("up", "--state", str(tmp_path / "state"), "--kubeconfig", str(tmp_path / "none"))
    assert refused.stderr.count("\n") == 1
    assert "cannot be read" in refused.stderr
    assert "leave out --demo" in certferry("up", "--demo", "--kubeconfig", str(tmp_path / "none")).stderr


async def _create(kubeconfig: Path, folder: Path) -> None:
    """Create the demo's objects, as a user of the cluster would."""
    now = datetime.now(UTC)
    pair = ca.good(ca.open_authority(folder, now), ca.HOST, now, 5)
    async with KubeClient(load(kubeconfig)) as client:
        for kind, manifest in objects.placed(pair, "127.0.0.1", 1):
            await client.create(kind, manifest, manifest["metadata"].get("namespace"))
