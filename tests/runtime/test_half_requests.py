"""Requests that stop half-way, at the ELB's API, the console and the embedded Kubernetes API."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import structlog
import yaml

from certferry.up.free_ports import free_ports
from tests.e2e.support.waiting import until
from tests.elb.support.server import serving, settings_in

FLEET = "clusters: [{name: far, kubeconfig: missing, elb: {url: 'http://127.0.0.1:9'}}]"
HEAD = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nContent-Type: application/json\r\n%s\r\n"


class Program(NamedTuple):
    """A running program, and a request that it accepts up to its body."""

    port: int
    head: bytes
    log: Path
    tls: ssl.SSLContext | None = None

    def connect(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        return self.tls.wrap_socket(plain, server_hostname="localhost") if self.tls else plain

    def listens(self) -> bool:
        with self.connect():
            return True

    def closed_after(self, data: bytes) -> bool:
        """Return True once the program has closed a connection on which `data` is all that arrives."""
        with self.connect() as connection:
            connection.sendall(data)
            while connection.recv(4096):
                pass
        return True


def _command(program: str, folder: Path, port: int) -> list[str]:
    where = ["--listen", f"127.0.0.1:{port}"]
    if program == "console":
        (folder / "certferry.yaml").write_text(FLEET)
        return [program, "--config", str(folder / "certferry.yaml"), *where]
    return [program, "--state", str(folder / "state"), *where]


@pytest.fixture(params=["elb", "console", "kube"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Program]:
    name, (port,) = request.param, free_ports(1)
    path, credential, tls = (
        {"elb": b"/v3/auth/tokens", "console": b"/login", "kube": b"/api/v1/namespaces"}[name],
        b"",
        None,
    )
    environment = {**os.environ, f"CERTFERRY_{name.upper()}_READ_TIMEOUT": "0.5", "CERTFERRY_ELB_ENVOY": "false"}
    log = tmp_path / "log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "certferry", *_command(name, tmp_path, port)]
        process = subprocess.Popen(command, stderr=file, stdout=file, env=environment)
    try:
        until(lambda: Program(port, b"", log).listens(), "it listens", seconds=60)
        if name == "kube":
            kubeconfig = tmp_path / "state" / "kubeconfig"
            until(kubeconfig.exists, "the kubeconfig", seconds=30)
            document = yaml.safe_load(kubeconfig.read_text())
            authority = base64.b64decode(document["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
            tls = ssl.create_default_context(cadata=authority)
            credential = b"Authorization: Bearer %s\r\n" % document["users"][0]["user"]["token"].encode()
        yield Program(port, HEAD % (path, credential), log, tls)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@pytest.mark.process
def test_a_request_that_stops_half_way_is_ended_without_a_traceback(program: Program) -> None:
    assert program.closed_after(program.head[:20]), "within the header"
    assert program.closed_after(program.head + b'{"a'), "within the body"
    for data in (program.head[:20], program.head + b'{"a'):
        with program.connect() as connection:
            connection.sendall(data)  # and gone
    assert program.closed_after(program.head[:20])  # the requests before have ended too
    said = program.log.read_text()
    assert "Traceback" not in said
    assert "internal error" not in said
    assert "error" not in {json.loads(line).get("level") for line in said.splitlines() if line.startswith("{")}


def test_a_request_that_is_cut_off_is_one_debug_line(tmp_path: Path) -> None:
    with serving(settings_in(tmp_path)) as elb, structlog.testing.capture_logs() as lines:
        port = int(elb.origin.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(HEAD % (b"/v3/auth/tokens", b"") + b'{"a')
        until(lambda: len(lines) == 1, "the line")
        assert elb.admin("GET", "/pools").status == 200
    assert [(line["log_level"], line["event"]) for line in lines] == [("debug", "request cut off")]


def test_an_endless_header_is_cut_off(tmp_path: Path) -> None:
    with serving(settings_in(tmp_path)) as elb:
        port = int(elb.origin.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n")
            endless = (b"x: " + b"y" * 10_000 + b"\r\n") * 5_000
            with pytest.raises(OSError, match=r"reset|pipe"):
                connection.sendall(endless)
