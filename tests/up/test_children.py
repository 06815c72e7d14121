"""Supervised processes are restarted, end at a stop, and never outlive their parent. Example: the demo backend."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from certferry.runtime.process import ParentPipe
from certferry.up.free_ports import free_ports
from certferry.up.supervisor import ProcessEnded, SupervisedProcess

PARENT = """
import asyncio, os, sys
from pathlib import Path
from certferry.runtime.process import ParentPipe
from certferry.up.supervisor import SupervisedProcess

async def main():
    child = SupervisedProcess("backend", ("demo", "backend", "--listen", sys.argv[1]), Path(sys.argv[2]), print)
    task = asyncio.ensure_future(child.run(ParentPipe(), os.environ))
    while not child.pid:
        await asyncio.sleep(0.01)
    print(child.pid, flush=True)
    await task

asyncio.run(main())
"""


def listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.01)


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
async def child(tmp_path: Path, port: int, lines: list[str]) -> AsyncIterator[SupervisedProcess]:
    """A backend that was ready."""
    child = backend(tmp_path, port, lines.append)
    task = asyncio.ensure_future(child.run(ParentPipe(), os.environ))
    await until(lambda: listening(port))
    child.ready.set()
    yield child
    await child.stop()
    await task


def backend(folder: Path, port: int, say: Callable[[str], None]) -> SupervisedProcess:
    return SupervisedProcess(
        "backend", ("demo", "backend", "--listen", f"127.0.0.1:{port}"), folder / "backend.log", say
    )


async def test_a_child_that_dies_is_restarted_and_reported(
    child: SupervisedProcess, port: int, lines: list[str]
) -> None:
    former = child.pid
    os.kill(former, signal.SIGKILL)
    await until(lambda: child.pid != former and listening(port))
    (line,) = lines
    assert "backend" in line
    assert "SIGKILL" in line


async def test_a_child_stops_although_a_script_started_its_parent_in_the_background(
    tmp_path: Path, port: int, lines: list[str]
) -> None:
    """A shell without job control starts background jobs with SIGINT ignored, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = backend(tmp_path, port, lines.append)
        task = asyncio.ensure_future(child.run(ParentPipe(), os.environ))
        await until(lambda: listening(port))
    finally:
        signal.signal(signal.SIGINT, before)
    assert await child.stop()
    await task
    assert lines == []


async def test_a_stopped_child_stays_stopped(child: SupervisedProcess, port: int, lines: list[str]) -> None:
    await child.stop()
    assert not listening(port)
    assert lines == []


async def test_a_child_that_never_becomes_ready_ends_with_its_own_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        child = backend(tmp_path, taken.getsockname()[1], print)
        with pytest.raises(ProcessEnded, match="Cannot listen on") as ended:
            await asyncio.wait_for(child.run(ParentPipe(), os.environ), 20)
    assert ended.value.code == 2


async def test_an_oversized_log_is_started_anew(child: SupervisedProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certferry.up.supervisor._LOG_LIMIT", 100)
    child.log.write_text("x" * 200)
    child.trim()
    assert child.log.stat().st_size == 0
    assert child.log.with_name("backend.log.1").read_text() == "x" * 200


@pytest.fixture
def parent(tmp_path: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, "-c", PARENT, f"127.0.0.1:{port}", str(tmp_path / "log")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


async def test_children_end_when_their_parent_is_killed(parent: subprocess.Popen[str], port: int) -> None:
    assert parent.stdout
    child = int(parent.stdout.readline())
    await until(lambda: listening(port))
    parent.kill()
    await until(lambda: not listening(port))
    await until(lambda: not Path(f"/proc/{child}/exe").exists() if Path("/proc").exists() else True)
