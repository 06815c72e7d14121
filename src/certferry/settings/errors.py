"""The error of a program that cannot start or continue, and its exit codes."""

from __future__ import annotations

from typing import Final

EXIT_UNUSABLE: Final = 2
"""Exit code: invalid input or a conflict (flags, ports, directories, a second instance)."""
EXIT_NEWER_STATE: Final = 3
"""Exit code: a newer Certferry wrote the state."""


class UserError(Exception):
    """A program cannot start or continue, and its user can solve it: one sentence, an exit code."""

    def __init__(self, sentence: str, code: int = EXIT_UNUSABLE) -> None:
        super().__init__(sentence)
        self.code = code
