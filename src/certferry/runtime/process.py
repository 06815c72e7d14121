"""Processes: children end with their parent, even after ``kill -9``, and no program writes a core dump with keys.

The parent holds the write end of a pipe and hands the read end to each child. A child leaves when the read
end reports the end of the pipe. Envoy gets no read end, because it must keep serving.
"""

from __future__ import annotations

import contextlib
import os
import resource
import threading
from typing import Final

VARIABLE: Final = "CERTFERRY_LIFELINE"
"""Environment variable with the number of the read end's file descriptor."""

_CORE: Final = 1
"""Bytes. Linux treats 1 as “not to a pipe either”; 0 would still feed a core pattern that is a pipe (core(5))."""
_M_TRIM_THRESHOLD: Final = -1
_M_ARENA_MAX: Final = -8
"""Options of ``mallopt`` (malloc.h)."""


class ParentPipe:
    """A pipe whose write end only this process holds, open for its whole life."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables a child needs, beside ``reader`` in ``pass_fds``."""
        return {VARIABLE: str(self.reader)}


def exit_with_parent() -> None:
    """Exit this process once the parent is gone; do nothing if it was started without a pipe."""
    descriptor = os.environ.pop(VARIABLE, "")
    if not descriptor.isdigit():
        return
    os.set_inheritable(int(descriptor), False)
    threading.Thread(target=_leave_at_end, args=(int(descriptor),), name="lifeline", daemon=True).start()


def _leave_at_end(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    # Not sys.exit: nothing may delay the exit, and no handler may stop Envoy.
    os._exit(0)


def forbid_core_dumps() -> None:
    """Forbid core dumps of this process and of the processes that it starts, Envoy among them."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = _CORE if hard == resource.RLIM_INFINITY else min(_CORE, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def bound_malloc() -> None:
    """Let threads share two heaps of the C library, and return free memory above 128 KiB to the system.

    By default each thread has a heap of its own, which keeps what a burst needed. Other C libraries than glibc have no
    such options.
    """
    import ctypes  # here, because commands start faster without it

    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, 2)
        library.mallopt(_M_TRIM_THRESHOLD, 128 << 10)
