"""Private directories with paths short enough for Unix sockets."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

MAX_SOCKET_PATH: Final = 103
"""Bytes of a socket's path that every supported system takes (Linux 107, macOS 103)."""
_LONGEST_NAME: Final = len("/admin.sock")


class NotPrivateError(OSError):
    """A directory for secrets has another owner, or others may enter it."""


def private_directory(path: Path) -> Path:
    """Make `path` a directory of ours with mode 0700, or raises ``NotPrivateError``."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise NotPrivateError(f"{path} is not a directory of this user: remove it, or choose another one.")
    if stat.S_IMODE(facts.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def run_directory(state: Path) -> Path:
    """Return the directory of the sockets of the ELB with state directory `state`: within it, or, if that is too
    deep, a directory in the system's temporary one that is the same at every start.
    """
    state = state.absolute()
    inside = state / "run"
    if len(os.fsencode(inside)) + _LONGEST_NAME <= MAX_SOCKET_PATH:
        return private_directory(inside)
    digest = hashlib.sha256(os.fsencode(state)).hexdigest()[:16]
    base = Path(tempfile.gettempdir())
    if len(os.fsencode(base)) > 60:
        base = Path("/tmp")  # noqa: S108 (the directory in it is checked to be ours)
    return private_directory(base / f"certferry-{os.getuid()}-{digest}")
