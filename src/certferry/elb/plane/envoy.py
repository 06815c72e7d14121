"""Keeps one Envoy running for an ELB, across restarts of the ELB itself. Started by the ELB's program.

Envoy lives in a session of its own and outlives us: its pid and start time are in the state
directory, and the next supervisor adopts it, or ends it before it starts another one. What Envoy
serves is none of this module's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import structlog

from certferry.elb.plane.bootstrap import (
    EnvoyMissingError,
    EnvoyOptions,
    Sockets,
    bootstrap,
    command,
    digest,
    find_binary,
)
from certferry.elb.plane.process import Identity, identify
from certferry.elb.plane.rundir import private_directory

_log = structlog.get_logger(__name__)
_POLL: Final = 0.1
_PATIENCE: Final = 5.0
"""Seconds between SIGTERM and SIGKILL."""
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0
_STEADY: Final = 10.0
"""Seconds of life after which an exit is no longer part of a series."""
_LOG_LIMIT: Final = 16 << 20


class Record(msgspec.Struct, frozen=True):
    """What ``envoy.json`` says: who runs, with which bootstrap."""

    process: Identity
    digest: str


class EnvoyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How Envoy is: ``running``, ``adopted``, ``restarting``, ``stopped`` or ``missing``."""

    state: str
    pid: int | None = None
    restarts: int = 0
    sentence: str = ""


class EnvoySupervisor:
    """One Envoy, with its files in `directory` and its sockets in the (short) `run_directory`."""

    def __init__(self, directory: Path, run_directory: Path, xds_socket: Path, options: EnvoyOptions) -> None:
        self._record = directory / "envoy.json"
        self._bootstrap = directory / "envoy-bootstrap.json"
        self._log = directory / "envoy.log"
        self._sockets = Sockets(str(xds_socket), str(private_directory(run_directory) / "admin.sock"))
        self._options = options
        self._process: Identity | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._status = EnvoyStatus(state="stopped")

    async def start(self) -> None:
        """Adopts the Envoy that runs, or starts one; then keeps it running until ``stop``."""
        try:
            wanted = self._write_bootstrap()
        except EnvoyMissingError as missing:
            self._status = EnvoyStatus(state="missing", sentence=str(missing))
            _log.error("envoy_missing", problem=str(missing))
            return
        before = self._read_record()
        if before is not None and before.process.alive() and before.digest == wanted:
            self._process = before.process
            self._set("adopted")
        else:
            if before is not None:
                await _end(before.process)
            await self._end_unrecorded()
            self._spawn(wanted)
        self._watch = asyncio.create_task(self._keep(wanted))

    async def stop(self) -> None:
        """Ends Envoy."""
        self.release()
        if self._process is not None:
            await _end(self._process, self._child)
            self._record.unlink(missing_ok=True)
        self._process, self._child = None, None
        self._set("stopped")

    def release(self) -> None:
        """Looks after Envoy no longer, and lets it run."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def status(self) -> EnvoyStatus:
        """How it is now."""
        return self._status

    async def admin(self, path: str, method: str = "GET") -> str:
        """An answer of Envoy's admin interface; raises aiohttp.ClientError if there is none."""
        connector = aiohttp.UnixConnector(self._sockets.admin)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, f"http://envoy{path}") as answer,
        ):
            return await answer.text()

    def _write_bootstrap(self) -> str:
        binary = find_binary()
        body = msgspec.json.encode(bootstrap(self._sockets, self._options))
        _write(self._bootstrap, body)
        return digest(binary, binary.stat().st_mtime_ns, body, self._options)

    def _read_record(self) -> Record | None:
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _spawn(self, wanted: str) -> None:
        if self._log.exists() and self._log.stat().st_size > _LOG_LIMIT:
            self._log.replace(self._log.with_suffix(".log.1"))
        with os.fdopen(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            _raise_file_limit()
            self._child = subprocess.Popen(
                command(find_binary(), self._bootstrap, self._options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": os.defpath},
                start_new_session=True,
            )
        self._process = identify(self._child.pid)
        if self._process is not None:
            _write(self._record, msgspec.json.encode(Record(self._process, wanted)))
        self._set("running")

    async def _keep(self, wanted: str) -> None:
        """Starts it again whenever it ends, with pauses that grow while it does not live long."""
        clock = asyncio.get_running_loop().time
        delay, since = _FIRST_DELAY, clock()
        while True:
            await asyncio.sleep(self._pause())
            if self._lives():
                continue
            delay = _FIRST_DELAY if clock() - since > _STEADY else min(2 * delay, _LONGEST_DELAY)
            code = self._child.returncode if self._child is not None else None
            _log.warning("envoy_ended", exit_code=code, again_in=delay, log=str(self._log))
            restarts = self._status.restarts + 1
            self._status = EnvoyStatus(
                state="restarting", restarts=restarts, sentence=f"Envoy ended; see {self._log}."
            )
            await asyncio.sleep(delay)
            since = clock()
            try:
                self._spawn(wanted)
            except OSError as error:
                self._process, self._child = None, None
                self._status = msgspec.structs.replace(
                    self._status, sentence=f"Envoy does not start: {error}."
                )

    def _pause(self) -> float:
        if self._child is None and self._process is not None and not self._process.cheap:
            return 10 * _POLL
        return _POLL

    def _lives(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return self._process is not None and self._process.alive()

    async def _end_unrecorded(self) -> None:
        """Ends an Envoy on our sockets that the record does not know (we died between start and record)."""
        try:
            await self.admin("/quitquitquit", "POST")
        except (aiohttp.ClientError, OSError):
            return
        while await self._answers():  # noqa: ASYNC110 (another process's end is no event of ours)
            await asyncio.sleep(_POLL)

    async def _answers(self) -> bool:
        try:
            await self.admin("/ready")
        except (aiohttp.ClientError, OSError):
            return False
        return True

    def _set(self, state: str) -> None:
        pid = self._process.pid if self._process is not None else None
        self._status = EnvoyStatus(state=state, pid=pid, restarts=self._status.restarts)


async def _end(process: Identity, child: subprocess.Popen[bytes] | None = None) -> None:
    """SIGTERM, and SIGKILL to what is still there after a while."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        process.signal(number)
        end = asyncio.get_running_loop().time() + _PATIENCE
        while asyncio.get_running_loop().time() < end:
            if child is not None:
                child.poll()
            if not process.alive():
                return
            await asyncio.sleep(_POLL / 4)


def _raise_file_limit() -> None:
    """Two files for each connection: as many as the system lets us, for Envoy inherits our limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (131_072, 10_240):
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        if soft >= wanted:
            return
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return


def _write(path: Path, data: bytes) -> None:
    """All or nothing, readable by us alone."""
    draft = path.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
