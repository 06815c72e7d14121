"""Children that end with their parent, however it ends.

`up` calls ``Lifeline`` once and hands its read end to each child; every server process calls
``watch`` first of all. When `up` is gone, even by ``kill -9``, the read end reports the end of
the pipe and the child leaves at once. Envoy never gets one: traffic outlives its keepers.
It knows nothing of what the processes do.
"""

from __future__ import annotations

import os
import threading
from typing import Final

VARIABLE: Final = "CERTFERRY_LIFELINE"
"""The environment variable with the number of the read end's file descriptor."""


class ParentPipe:
    """A pipe whose write end this process alone holds, open for as long as it lives."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()

    @property
    def environment(self) -> dict[str, str]:
        """What a child needs in its environment, beside ``reader`` in ``pass_fds``."""
        return {VARIABLE: str(self.reader)}


def exit_with_parent() -> None:
    """Leave this process as soon as the one that holds the write end is gone; nothing without one."""
    descriptor = os.environ.pop(VARIABLE, "")
    if not descriptor.isdigit():
        return
    os.set_inheritable(int(descriptor), False)
    threading.Thread(target=_leave_at_end, args=(int(descriptor),), name="lifeline", daemon=True).start()


def _leave_at_end(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    # Not sys.exit: nothing may hold this process back, and Envoy must not be told to end.
    os._exit(0)
