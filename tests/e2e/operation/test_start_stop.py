"""Start, stop, start again: addresses are kept, every child ends, and a failed start is one line."""

from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import MakeSite
from tests.e2e.support.processes import tcp_ports
from tests.e2e.support.system import System, alive
from tests.e2e.support.tls import get, handshake


def test_a_restart_keeps_ports_addresses_and_what_was_served(system: System, site: MakeSite) -> None:
    shop = site("restarted")
    pair = shop.pair()
    shop.publish(pair)
    shop.shows(pair)
    before, kubeconfig = system.endpoints, Path(system.endpoints.kubeconfig).read_bytes()
    address = shop.address

    assert system.stop() in (0, 130, -signal.SIGINT)
    for name, pid in before.processes.items():
        assert not alive(pid), f"{name} outlived Ctrl-C"
    with pytest.raises(OSError, match="refused"):
        handshake(address, shop.host)
    system.start()

    after = system.endpoints
    assert (after.elb, after.metrics, after.port_map) == (before.elb, before.metrics, before.port_map)
    assert Path(after.kubeconfig).read_bytes() == kubeconfig
    shop.shows(pair)
    assert get(address, shop.host) == 200


def test_sigterm_ends_all_programs(system: System) -> None:
    pids = system.endpoints.processes
    assert system.process is not None
    system.process.send_signal(signal.SIGTERM)
    system.process.wait(30)
    assert not [name for name, pid in pids.items() if alive(pid)]
    system.start()


def test_a_program_that_dies_is_restarted(system: System) -> None:
    for name in ("kube", "controller"):
        former = system.pid(name)
        system.kill(name)
        assert system.revived(name, former)


def test_a_second_instance_on_the_same_state_is_refused(system: System) -> None:
    before = system.endpoints
    _refused(system, str(before.pid))
    assert system.endpoints == before
    assert all(alive(pid) for pid in before.processes.values())


def test_an_occupied_port_is_reported(system: System) -> None:
    ports = {name: urlsplit(url) for name, url in (("elb", system.endpoints.elb.url),)}
    host, port = ports["elb"].hostname, ports["elb"].port
    assert host
    assert port
    system.stop()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
        taken.listen()
        _refused(system, str(port))
    system.start()


def test_a_store_of_a_newer_version_is_unchanged(system: System) -> None:
    system.stop()
    stores = [path for path in system.state.rglob("*.db") if _version(path)]
    assert stores, "a store says its version in alembic_version"
    former = {path: _version(path) for path in stores}
    try:
        _set_version(stores[0], "9999_from_the_future")
        _refused(system, "newer")
    finally:
        _set_version(stores[0], str(former[stores[0]]))
    system.start()


def test_an_unwritable_directory_is_reported(place: Path) -> None:
    file = place / "file"
    file.write_text("")
    nowhere = System(file / "state")
    _refused(nowhere, str(file))


def test_envoy_listens_only_where_listeners_are(system: System, site: MakeSite) -> None:
    shop = site("only-here")
    pair = shop.pair()
    shop.publish(pair)
    shop.shows(pair)
    vip = urlsplit(f"//{shop.address.ip}").hostname
    assert {host for host, _ in tcp_ports([system.pid("envoy")])} == {vip}


def _refused(system: System, words: str) -> None:
    """Assert that `certferry up` exits with `code` and one line on stderr that contains `words`."""
    done = subprocess.run(
        system.command(), capture_output=True, text=True, env=system.environment(), timeout=60, check=False
    )
    assert done.returncode not in (0, -signal.SIGKILL), done
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert words in lines[0]
    assert "Traceback" not in done.stdout + done.stderr


def _version(path: Path) -> str | None:
    with contextlib.closing(sqlite3.connect(path)) as store, contextlib.suppress(sqlite3.DatabaseError):
        (version,) = store.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(version)
    return None


def _set_version(path: Path, version: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as store, store:
        store.execute("UPDATE alembic_version SET version_num = ?", (version,))
