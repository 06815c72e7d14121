"""Processes that may outlive us, distinguished from later ones with the same pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import msgspec

_PROC = Path("/proc")
_HAS_PROC = _PROC.joinpath("self").exists()


class ProcessIdentity(msgspec.Struct, frozen=True):
    """A process for all time: its pid, and when it was started as the system says it."""

    pid: int
    started: str

    def alive(self) -> bool:
        """Return True if this process still runs."""
        return identify(self.pid) == self

    @property
    def cheap(self) -> bool:
        """Return True if the check is cheap (without /proc it needs a process)."""
        return _HAS_PROC

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def identify(pid: int) -> ProcessIdentity | None:
    """Return the process that has `pid` now; None if none has, or only a zombie."""
    started = _from_proc(pid) if _HAS_PROC else _from_ps(pid)
    return ProcessIdentity(pid, started) if started else None


def _from_proc(pid: int) -> str:
    try:
        # The command's name stands in parentheses and may hold anything.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    if fields[0] in "ZX":
        return ""
    return f"{fields[19]}@{_boot()}"


def _boot() -> str:
    """Start times count from the boot, so the boot id distinguishes them."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _from_ps(pid: int) -> str:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return "" if text.startswith("Z") else text.partition(" ")[2].strip()


def trim_log(log: Path, limit: int) -> None:
    """Move the content of `log` to ``LOG.1`` if it has more than `limit` bytes. Raises OSError."""
    if not log.exists() or log.stat().st_size <= limit:
        return
    former = log.with_name(log.name + ".1")
    former.unlink(missing_ok=True)  # makes room for the copy on a full disk
    shutil.copyfile(log, former)
    # Truncate, not rename, because the process holds the file open.
    os.truncate(log, 0)
