"""A real kubectl against a running server."""

from __future__ import annotations

import subprocess

from tests.kube.support.server_process import Process


class Session:
    """kubectl in one namespace of its own."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return self.process.kubectl(*arguments, stdin=stdin, **environment)

    def ok(self, *arguments: str, stdin: str = "", **environment: str) -> str:
        """What it printed; it must have gone well and without a complaint."""
        done = self.run(*arguments, stdin=stdin, **environment)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def refused(self, *arguments: str, stdin: str = "") -> str:
        """What it complained about; the exit code must be 1."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 1, done
        return done.stderr
