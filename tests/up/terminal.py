"""A terminal that lines are pasted into."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Terminal:
    """A shell that keeps its variables from one pasted line to the next."""

    def __init__(self, folder: Path) -> None:
        self._shell = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder
        )

    def paste(self, line: str) -> str:
        """What the line printed; it must not fail."""
        code, printed = self.attempt(line)
        assert code == 0, f"{line}\nended with {code}:\n{printed}"
        return printed

    def attempt(self, line: str) -> tuple[int, str]:
        """Its exit code, and what it printed."""
        assert self._shell.stdin
        assert self._shell.stdout
        # the line break after what was printed, ended or not, is taken off again
        self._shell.stdin.write(f"{line}\ncode=$?; echo; echo done: $code\n")
        self._shell.stdin.flush()
        printed: list[str] = []
        for printed_line in self._shell.stdout:
            if printed_line.startswith("done: "):
                return int(printed_line.removeprefix("done: ")), "".join(printed)[:-1]
            printed.append(printed_line)
        raise AssertionError(f"the terminal ended: {printed}")

    def close(self) -> None:
        """Leave it."""
        self._shell.communicate(timeout=10)
