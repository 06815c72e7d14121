"""After any end of `certferry up`, no process of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from certferry.up.endpoints_file import Endpoints
from tests.e2e.support.waiting import until

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*flags: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "output").open("ab") as output:
            command = [sys.executable, "-m", "certferry", "up", "--state", str(tmp_path / "state"), *flags]
            started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
    for pid in left(tmp_path):
        os.kill(pid, signal.SIGKILL)


def left(tmp_path: Path) -> dict[int, str]:
    """The living processes whose command lines name the state directory."""
    done = subprocess.run(["ps", "-wweo", "pid=,stat=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    state = str(tmp_path / "state")
    return {int(pid): args for pid, stat, args in rows if state in args and not stat.startswith("Z")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=["ctrl-c", "terminal-closed"])
def test_a_stop_during_start_ends_all_programs(number: signal.Signals, start: Start, tmp_path: Path) -> None:
    up = start()
    until(lambda: len(left(tmp_path)) >= 3, "the first parts are started")
    up.send_signal(number)
    assert up.wait(20) == 0
    assert left(tmp_path) == {}
    assert "Traceback" not in (tmp_path / "output").read_text()


def test_a_second_ctrl_c_kills_hanging_programs(start: Start, tmp_path: Path) -> None:
    up = start()
    file = tmp_path / "state" / "endpoints.json"
    until(file.exists, "all is ready", seconds=60)
    processes = msgspec.json.decode(file.read_bytes(), type=Endpoints).processes
    assert set(processes) == {"kube", "elb", "envoy", "controller", "console", "backend"}
    os.kill(processes["controller"], signal.SIGSTOP)
    up.send_signal(signal.SIGINT)
    until(lambda: not file.exists(), "up has begun to end")
    up.send_signal(signal.SIGINT)
    assert up.wait(5) == 0
    assert left(tmp_path) == {}
    assert not file.exists()


def test_programs_left_by_a_killed_up_are_adopted_and_ended(start: Start, tmp_path: Path) -> None:
    former = start()
    file = tmp_path / "state" / "endpoints.json"
    until(file.exists, "all is ready", seconds=60)
    processes = msgspec.json.decode(file.read_bytes(), type=Endpoints).processes
    former.kill()
    former.wait()
    until(lambda: len(left(tmp_path)) == 1, "only Envoy is left")
    up = start()
    until(lambda: msgspec.json.decode(file.read_bytes(), type=Endpoints).pid == up.pid, "all is ready")
    assert msgspec.json.decode(file.read_bytes(), type=Endpoints).processes["envoy"] == processes["envoy"]
    up.send_signal(signal.SIGTERM)
    assert up.wait(20) == 0
    assert left(tmp_path) == {}


def test_with_on_exit_keep_sigterm_leaves_envoy_to_the_next_start(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTFERRY_UP_ON_EXIT", "keep")
    former = start()
    file = tmp_path / "state" / "endpoints.json"
    until(file.exists, "all is ready", seconds=60)
    envoy = msgspec.json.decode(file.read_bytes(), type=Endpoints).processes["envoy"]
    former.send_signal(signal.SIGTERM)
    assert former.wait(20) == 0
    assert set(left(tmp_path)) == {envoy}
    up = start()
    until(file.exists, "all is ready", seconds=60)
    assert msgspec.json.decode(file.read_bytes(), type=Endpoints).processes["envoy"] == envoy
    up.send_signal(signal.SIGINT)
    assert up.wait(20) == 0
    assert left(tmp_path) == {}


def test_envoy_ends_with_an_elb_that_has_to_be_killed(start: Start, tmp_path: Path) -> None:
    up = start()
    file = tmp_path / "state" / "endpoints.json"
    until(file.exists, "all is ready", seconds=60)
    processes = msgspec.json.decode(file.read_bytes(), type=Endpoints).processes
    os.kill(processes["elb"], signal.SIGSTOP)
    up.send_signal(signal.SIGINT)
    assert up.wait(40) == 0
    assert left(tmp_path) == {}


@pytest.mark.parametrize("emptied", [False, True], ids=["deleted", "emptied"])
@pytest.mark.parametrize("store", ["elb.db", "kube/store.db"])
def test_a_lost_store_is_refused_and_envoy_serves_on(store: str, emptied: bool, start: Start, tmp_path: Path) -> None:
    former = start()
    file, state = tmp_path / "state" / "endpoints.json", tmp_path / "state"
    until(file.exists, "all is ready", seconds=60)
    envoy = msgspec.json.decode(file.read_bytes(), type=Endpoints).processes["envoy"]
    former.kill()
    former.wait()
    until(lambda: set(left(tmp_path)) == {envoy}, "only Envoy is left")
    for path in (state / store, state / f"{store}-wal", state / f"{store}-shm"):
        path.unlink(missing_ok=True)
    if emptied:
        (state / store).touch()
    up = start()
    assert up.wait(60) == 2
    refusal = (tmp_path / "output").read_text().splitlines()[-1]
    assert str(state / store) in refusal
    assert "certferry restore" in refusal
    assert "--new" in refusal
    assert set(left(tmp_path)) == {envoy}
    again = start("--new")
    until(file.exists, "all is ready with an empty store", seconds=60)
    again.send_signal(signal.SIGINT)
    assert again.wait(30) == 0
