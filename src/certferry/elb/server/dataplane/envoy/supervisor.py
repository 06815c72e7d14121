"""Keeps one Envoy running for an ELB, across restarts of the ELB itself. Started by the ELB's program.

Envoy lives in a session of its own and outlives us: its pid and start time are in the state
directory, and the next supervisor adopts it, or ends it before it starts another one. What Envoy
serves is none of this module's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Final

import msgspec
import structlog

from certferry.elb.server.dataplane.envoy.admin import Admin, Unanswered
from certferry.elb.server.dataplane.envoy.binary import EnvoyMissingError, EnvoyUnusableError, usable_binary
from certferry.elb.server.dataplane.envoy.bootstrap import Sockets, bootstrap, command, digest
from certferry.elb.server.dataplane.envoy.connection_limit import fitted
from certferry.elb.server.dataplane.envoy.process import ProcessIdentity, identify, trim_log
from certferry.elb.server.dataplane.envoy.run_directory import private_directory
from certferry.elb.server.dataplane.status import EnvoyStatus
from certferry.runtime import private_files
from certferry.runtime.backoff import Backoff
from certferry.settings import EnvoyOptions

_log = structlog.get_logger(__name__)
_POLL: Final = 0.1
_READY_TIMEOUT: Final = 5.0
"""Seconds between SIGTERM and SIGKILL."""
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 30.0
_STEADY: Final = 1.0
"""Seconds of serving after which an exit is no longer part of a series."""
_LAST_WORDS: Final = 400
"""Bytes of Envoy's log that are quoted when it ends."""
_LOG_LIMIT: Final = 16 << 20


class _NoEnvoy(Exception):
    """Nothing can be started now; the status says why."""


class Record(msgspec.Struct, frozen=True):
    """The content of ``envoy.json``: the process and its bootstrap."""

    process: ProcessIdentity
    digest: str


class EnvoySupervisor:
    """One Envoy, with its files in `directory` and its sockets in the (short) `run_directory`."""

    def __init__(self, directory: Path, run_directory: Path, xds_socket: Path, options: EnvoyOptions) -> None:
        self._directory = directory
        self._record = directory / "envoy.json"
        self._bootstrap = directory / "envoy-bootstrap.json"
        self._log = directory / "envoy.log"
        self._sockets = Sockets(str(xds_socket), str(private_directory(run_directory) / "admin.sock"))
        self._options = fitted(options)
        if self._options.max_connections < options.max_connections:
            _log.warning(
                "Envoy accepts fewer connections than configured, because of the file limit (ulimit -n)",
                configured=options.max_connections,
                accepted=self._options.max_connections,
            )
        self._process: ProcessIdentity | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._status = EnvoyStatus(state="stopped")
        self.admin = Admin(self._sockets.admin)

    async def start(self) -> None:
        """Adopts the Envoy that runs, or starts one; then keeps it running until ``stop``.

        Never raises for want of an Envoy or of disk space: the API has to be up for people to see what is wrong.
        """
        with contextlib.suppress(_NoEnvoy):
            await self._again()
        self._watch = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """End Envoy: no new connections, requests under way may end, then it is gone."""
        self.release()
        if self._process is not None:
            await self._drain()
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
        """Return the present status."""
        return self._status

    async def _adopt_or_spawn(self) -> None:
        """Raise ``_NoEnvoy`` when there is none that can be run."""
        binary = self._find()
        wanted = self._write_bootstrap(binary)
        before = self._read_record()
        if before is not None and before.process.alive() and before.digest == wanted:
            self._process = before.process
            self._set("adopted")
            return
        if before is not None:
            await _end(before.process)
        await self._end_unrecorded()
        self._spawn(binary, wanted)

    def _find(self) -> Path:
        try:
            return usable_binary(self._options.binary)
        except (EnvoyMissingError, EnvoyUnusableError) as problem:
            state = "missing" if isinstance(problem, EnvoyMissingError) else "unusable"
            if self._status.sentence != str(problem):
                _log.error(f"envoy_{state}", problem=str(problem))
            self._process, self._child = None, None
            self._status = EnvoyStatus(state=state, restarts=self._status.restarts, sentence=str(problem))
            raise _NoEnvoy from None

    def _write_bootstrap(self, binary: Path) -> str:
        body = msgspec.json.encode(bootstrap(self._sockets, self._options))
        private_files.write(self._bootstrap, body)
        line = command(binary, self._bootstrap, self._options)
        return digest(binary.stat().st_mtime_ns, body, *line)

    def _read_record(self) -> Record | None:
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _spawn(self, binary: Path, wanted: str) -> None:
        with os.fdopen(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            self._child = subprocess.Popen(
                command(binary, self._bootstrap, self._options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,  # its access log is there
                env={"PATH": os.defpath},
                start_new_session=True,
                umask=0o077,
            )
        self._process = identify(self._child.pid)
        if self._process is not None:
            private_files.write(self._record, msgspec.json.encode(Record(self._process, wanted)))
        self._set("running")

    async def _keep(self) -> None:
        """Start it again whenever it ends, with delays that grow until it has served for `_STEADY` seconds.

        A series of ends is one line in the log; the status says the rest.
        """
        clock = asyncio.get_running_loop().time
        backoff, told, served = Backoff(_FIRST_DELAY, _LONGEST_DELAY), False, None
        while True:
            await asyncio.sleep(self._pause())
            with contextlib.suppress(OSError):
                trim_log(self._log, _LOG_LIMIT)
            steady = served is not None and clock() - served > _STEADY
            if self._lives():
                if served is None and await self.admin.serves():
                    served = clock()
                if told and steady:
                    _log.info("envoy_steady", restarts=self._status.restarts)
                    told = False
                continue
            if steady:
                backoff.reset()
            if self._was_there():
                words = self._last_words()
                if steady or not told:
                    code, delay = self._exit_code(), backoff.delay
                    _log.error("envoy_ended", exit_code=code, restart_in=delay, last_words=words, log=str(self._log))
                    told = True
                self._ended(words, backoff.delay)
            await backoff.wait()
            served = None
            with contextlib.suppress(_NoEnvoy):
                await self._again()

    def _ended(self, words: str, delay: float) -> None:
        code = self._exit_code()
        self._status = EnvoyStatus(
            state="restarting",
            restarts=self._status.restarts + 1,
            sentence=f"Envoy ended{f' with code {code}' if code is not None else ''}: {words or 'no last words'}. "
            f"It is started again in {delay:g} s. See {self._log}.",
        )

    async def _again(self) -> None:
        try:
            if self._was_there():
                binary = self._find()
                self._spawn(binary, self._write_bootstrap(binary))
            else:
                await self._adopt_or_spawn()
        except OSError as error:
            self._process, self._child = None, None
            self._status = msgspec.structs.replace(
                self._status, state="restarting", sentence=f"Envoy does not start: {error}."
            )

    def _exit_code(self) -> int | None:
        return self._child.returncode if self._child is not None else None

    def _last_words(self) -> str:
        """Return the last meaningful line of Envoy's log."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, self._log.stat().st_size - _LAST_WORDS))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].strip() if lines else ""

    async def _drain(self) -> None:
        """Take no more connections, asks clients to leave, waits while requests are under way."""
        end = asyncio.get_running_loop().time() + self._options.exit_timeout
        try:
            await self.admin.ask("/healthcheck/fail", "POST")  # from now on each answer says: close
            await self.admin.ask("/drain_listeners", "POST")
            while await self.admin.requests() and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110
                await asyncio.sleep(_POLL)
        except Unanswered:
            return

    def _pause(self) -> float:
        if self._child is None and self._process is not None and not self._process.cheap:
            return 10 * _POLL
        return _POLL

    def _was_there(self) -> bool:
        """Return True if an Envoy was started or adopted; a child that ends at once has no identity."""
        return self._child is not None or self._process is not None

    def _lives(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return self._process is not None and self._process.alive()

    async def _end_unrecorded(self) -> None:
        """End an Envoy on our sockets that the record does not know (we died between start and record)."""
        try:
            await self.admin.ask("/quitquitquit", "POST")
        except Unanswered:
            return
        while await self.admin.answers():  # noqa: ASYNC110 (another process's end is no event of ours)
            await asyncio.sleep(_POLL)

    def _set(self, state: str) -> None:
        pid = self._process.pid if self._process is not None else None
        self._status = EnvoyStatus(state=state, pid=pid, restarts=self._status.restarts)


async def _end(process: ProcessIdentity, child: subprocess.Popen[bytes] | None = None) -> None:
    """SIGTERM, and SIGKILL to what is still there after a while."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        process.signal(number)
        end = asyncio.get_running_loop().time() + _READY_TIMEOUT
        while asyncio.get_running_loop().time() < end:
            if child is not None:
                child.poll()
            if not process.alive():
                return
            await asyncio.sleep(_POLL / 4)
