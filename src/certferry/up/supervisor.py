"""Supervised processes: started, restarted after each exit, and ended.

Each has a session of its own, because Ctrl-C in the terminal is for `up` alone. Each ends with `up`, and writes to a
log file of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from certferry.elb.server.dataplane.envoy.process import trim_log
from certferry.runtime.backoff import Backoff
from certferry.runtime.process import ParentPipe

_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0
"""Seconds before a restart: after the first exit, at most."""
_RESET_AFTER: Final = 30.0
"""Seconds of life after which the restart delay begins anew."""
_LOG_LIMIT: Final = 10_000_000
"""Bytes of a log file; then it becomes ``.1``, and the ``.1`` before goes away."""


_REFUSED: Final = 2
"""Exit code of a program whose last log line is a sentence for the user."""


class ProcessEnded(Exception):
    """A process ended before it was ready. `sentence` is its last log line."""

    def __init__(self, name: str, code: int, sentence: str) -> None:
        super().__init__(sentence or f"{name} ended with exit code {code} and an empty log")
        self.name, self.code = name, code


class SupervisedProcess:
    """One program, kept running until ``stop``."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path, say: Callable[[str], None]) -> None:
        self.name, self.log = name, log
        self.ready = asyncio.Event()
        """Set by the owner once the program is ready: from then on it is restarted; before, its exit is an error."""
        self._arguments, self._say = tuple(arguments), say
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int:
        """Process id of the current or last process; 0 before the first."""
        return self._process.pid if self._process else 0

    async def run(self, pipe: ParentPipe, environment: Mapping[str, str]) -> None:
        """Start, and restart after each exit, until ``stop``. Raises ProcessEnded and OSError before it was ready."""
        backoff, said = Backoff(_FIRST_DELAY, _LONGEST_DELAY), ""
        while True:
            began = asyncio.get_running_loop().time()
            try:
                problem = self._ended_how(await self._once(pipe, environment))
            except OSError as error:
                if not self.ready.is_set():
                    raise
                problem = f"cannot be started ({error.strerror})"
            if self._stopping.is_set():
                return
            if asyncio.get_running_loop().time() - began > _RESET_AFTER:
                backoff.reset()
                said = ""
            if problem != said:  # the same end again and again is one line
                self._say(f"{self.name} {problem}; restarting (see {self.log})")
                said = problem
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff.advance())
                return

    async def stop(self, number: signal.Signals = signal.SIGINT, seconds: float = 10.0) -> bool:
        """Send signal `number`; after `seconds`, kill it. Return whether it ended by itself."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return True
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), seconds)
            return True
        except TimeoutError:
            self._say(f"{self.name} did not end within {seconds:.0f} s and was killed")
            self.kill()
            await process.wait()
            return False

    def kill(self) -> None:
        """Kill it at once."""
        self._stopping.set()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def trim(self) -> None:
        """Rotate the log file if it is too long. Raises OSError."""
        trim_log(self.log, _LOG_LIMIT)

    async def _once(self, pipe: ParentPipe, environment: Mapping[str, str]) -> int:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "certferry",
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**environment, **pipe.environment},
                pass_fds=(pipe.reader,),
                start_new_session=True,
            )
        if self._stopping.is_set():
            self.kill()
        return await self._process.wait()

    def _ended_how(self, code: int) -> str:
        """Return how it ended. Raises ProcessEnded before it was ready."""
        if not self.ready.is_set() and not self._stopping.is_set():
            raise ProcessEnded(self.name, code, last_log_line(self.log))
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        refusal = last_log_line(self.log) if code == _REFUSED else ""
        return f"ended (exit code {code}{f': {refusal}' if refusal else ''})"


def last_log_line(log: Path) -> str:
    """Return the last line of a log file without its prefix."""
    try:
        lines = log.read_bytes()[-4000:].decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].removeprefix("certferry: ").strip() if lines else ""
