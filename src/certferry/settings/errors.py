"""What is said when a program cannot start or go on, and with which exit code."""

from __future__ import annotations

from typing import Final

EXIT_UNUSABLE: Final = 2
"""Exit code: what was asked for cannot be done here (flags, ports, directories, a second instance)."""
EXIT_NEWER_STATE: Final = 3
"""Exit code: the state was written by a newer Certferry."""


class UserError(Exception):
    """A program cannot start or go on, for a reason that its user can change: one sentence, an exit code."""

    def __init__(self, sentence: str, code: int = EXIT_UNUSABLE) -> None:
        super().__init__(sentence)
        self.code = code
