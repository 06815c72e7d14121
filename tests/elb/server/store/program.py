"""``certferry elb`` as a process of its own: to be killed, to run out of room, to be restarted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from certferry.elb.server.identity.bootstrap import bootstrap
from tests.e2e.support.processes import tcp_ports
from tests.elb.support.server import UNLIMITED, Api, settings_in


class Program(NamedTuple):
    """A running ELB."""

    process: subprocess.Popen[bytes]
    api: Api
    state: Path


@contextmanager
def elb_program(directory: Path, end: int = signal.SIGKILL, **options: str) -> Iterator[Program]:
    """`options`: more of its environment. `end`: the signal that ends it."""
    settings = settings_in(directory)
    credentials = bootstrap(settings, cluster="blue")
    environment = os.environ | {"CERTFERRY_ELB_ENVOY": "false", "CERTFERRY_ELB_LIMITS": '{"certificate": -1}'}
    environment |= options
    command = [sys.executable, "-m", "certferry", "elb", "--state", str(settings.state)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        origin = f"http://127.0.0.1:{_port(process)}"
        yield Program(process, Api(origin, credentials.project_id, credentials.admin), settings.state)
    finally:
        process.send_signal(end)
        process.wait(20)


def _port(process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + 30
    while not (found := tcp_ports([process.pid])):
        assert process.poll() is None, "the ELB ended"
        assert time.monotonic() < deadline, "the ELB does not listen"
        time.sleep(0.02)
    return next(port for _, port in found)


__all__ = ["UNLIMITED", "Program", "elb_program"]
