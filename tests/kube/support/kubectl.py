"""A real kubectl against a running server."""

from __future__ import annotations

import subprocess

from tests.kube.support.server_process import Process


class Session:
    """kubectl in a namespace of its own."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return self.process.kubectl(*arguments, stdin=stdin, **environment)

    def ok(self, *arguments: str, stdin: str = "", **environment: str) -> str:
        """Run a command that must succeed without writing to standard error; return its output."""
        done = self.run(*arguments, stdin=stdin, **environment)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def refused(self, *arguments: str, stdin: str = "") -> str:
        """Run a command that must exit with 1; return its standard error."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 1, done
        return done.stderr
