"""Child processes that end with their parent, even after ``kill -9``.

The parent holds the write end of a pipe and hands the read end to each child. A child leaves when the read
end reports the end of the pipe. Envoy gets no read end, because it must keep serving.
"""

from __future__ import annotations

import os
import threading
from typing import Final

VARIABLE: Final = "CERTFERRY_LIFELINE"
"""Environment variable with the number of the read end's file descriptor."""


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
