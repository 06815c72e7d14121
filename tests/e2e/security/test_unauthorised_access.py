"""Another user of the machine, or a process without the credential, gets nothing that holds keys."""

from __future__ import annotations

import http.client
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeSite
from tests.e2e.support.http import JsonApi
from tests.e2e.support.processes import tcp_ports, unix_sockets
from tests.e2e.support.system import System, kube_api

NOBODY = 65534

TRESPASS = """
import json, os, socket, sys
got = []
for path in json.load(sys.stdin):
    try:
        if os.path.isdir(path):
            got.append([path, os.listdir(path)])
        elif os.path.isfile(path):
            got.append([path, len(open(path, "rb").read())])
        else:
            with socket.socket(socket.AF_UNIX) as door:
                door.connect(path)
                got.append([path, "connected"])
    except OSError:
        pass
print(json.dumps(got))
"""
"""What a stranger who knows every path would try."""


@pytest.fixture(scope="module")
def private(system: System) -> list[Path]:
    """Every path with state in it: the directory, what is below, and the sockets wherever they are."""
    pids = [system.endpoints.pid, *system.endpoints.processes.values()]
    sockets = unix_sockets(pids, system.state)
    assert sockets, "xDS and Envoy's admin are expected on Unix sockets"
    return sorted({system.state, *system.state.rglob("*"), *sockets, *(s.parent for s in sockets)})


def test_another_user_opens_neither_files_nor_sockets(system: System, private: list[Path]) -> None:
    if os.geteuid() != 0:
        _modes_keep_others_out(private)
        return
    done = subprocess.run(
        [_python(), "-c", TRESPASS],
        input=json.dumps([str(path) for path in private]),
        capture_output=True,
        text=True,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        check=True,
        timeout=30,
    )
    assert json.loads(done.stdout) == []
    _modes_keep_others_out(private)


def test_credential_files_are_readable_by_their_owner_only(system: System) -> None:
    assert stat.S_IMODE(system.state.stat().st_mode) == 0o700
    for name in (Path(system.endpoints.kubeconfig), system.state / "endpoints.json"):
        assert stat.S_IMODE(name.stat().st_mode) == 0o600, name


def test_no_program_writes_a_core_dump(system: System) -> None:
    """A core of Envoy, the ELB, the API or the controller would hold private keys."""
    for name, pid in (("up", system.endpoints.pid), *system.endpoints.processes.items()):
        limits = Path(f"/proc/{pid}/limits")
        if limits.exists():
            (line,) = [row for row in limits.read_text().splitlines() if row.startswith("Max core file size")]
            assert line.split()[4:6] in (["1", "1"], ["0", "0"]), f"{name}: {line}"


def test_no_port_answers_as_xds_or_as_envoys_admin(system: System, site: MakeSite) -> None:
    shop = site("strangers")
    pair = shop.pair()
    shop.publish(pair)
    shop.shows(pair)
    envoy = tcp_ports([system.pid("envoy")])
    assert {port for _, port in envoy} <= {shop.address.port}, "Envoy listens on more than its listeners"
    for host, port in tcp_ports([system.endpoints.pid, *system.endpoints.processes.values()]) - envoy:
        assert host.startswith("127."), f"{host}:{port} can be reached from elsewhere"
        for path in ("/config_dump", "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"):
            assert _status(host, port, path) in (None, 400, 401, 403, 404, 405), (host, port, path)


def test_without_a_credential_both_apis_answer_401(system: System) -> None:
    elb = JsonApi(system.endpoints.elb.url, {})
    answer = elb.call("GET", system.elb_path("certificates"))
    assert answer.status == 401
    assert "certificates" not in (answer.body or {})

    kube = kube_api(Path(system.endpoints.kubeconfig))
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        kube.headers = headers
        assert kube.call("GET", "/api/v1/secrets").status == 401


def test_a_wrong_password_gets_no_token(system: System) -> None:
    door = system.endpoints.elb
    user = {"name": door.username, "password": "wrong", "domain": {"name": door.domain}}
    identity = {"methods": ["password"], "password": {"user": user}}
    answer = JsonApi(door.url, {}).call("POST", "/v3/auth/tokens", {"auth": {"identity": identity}})
    assert answer.status == 401
    assert "x-subject-token" not in answer.headers


def _modes_keep_others_out(paths: list[Path]) -> None:
    """Each path, or a directory above it, is closed to group and others."""
    for path in paths:
        closed = [p for p in (path, *path.parents) if p.exists() and not p.stat().st_mode & 0o077]
        assert closed, f"{path} is open to others"


def _python() -> str:
    """An interpreter that another user may start too; the tests' own may be in a private directory."""
    return "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable


def _status(host: str, port: int, path: str) -> int | None:
    """The status of a plain GET; None where something else than HTTP/1.1 is spoken, or TLS."""
    connection = http.client.HTTPConnection(host, port, timeout=3)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
