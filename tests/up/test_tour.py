"""The closing block of `certferry up`, pasted line by line into a terminal."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.support.waiting import until
from tests.up.terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def block() -> Iterator[str]:
    """What `certferry up` showed when it was ready, on a state of its own."""
    with tempfile.TemporaryDirectory(prefix="certferry tour ") as place:
        output, state = Path(place, "output"), Path(place, "state")
        with output.open("w") as file:
            up = subprocess.Popen(
                [sys.executable, "-m", "certferry", "up", "--state", str(state)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=ROOT,
                start_new_session=True,
            )
        try:
            until(lambda: "get events" in output.read_text(), "the block is shown", seconds=60)
            yield output.read_text().partition("Certferry is ready")[2]
        finally:
            up.send_signal(signal.SIGINT)
            assert up.wait(30) == 0
        assert not (state / "endpoints.json").exists()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    shell = Terminal(Path("/"))
    yield shell
    shell.close()


def test_every_printed_command_works(block: str, terminal: Terminal) -> None:
    steps = [step.splitlines() for step in block.replace("\\\n", "").split("\n# ")[1:]]
    (enter, see), secret, create, replace, back = (step[1:] for step in steps)

    def days_left() -> int:
        page = terminal.paste(see)
        assert "Hello" in page
        found = re.search(r"expire date: (.*) GMT", page)
        assert found, page
        end = datetime.strptime(found[1], "%b %d %H:%M:%S %Y").replace(tzinfo=UTC)
        return round((end - datetime.now(UTC)).total_seconds() / 86_400)

    terminal.paste(enter)
    assert days_left() == 5
    for commands, days in ((secret, 90), (create, 200), (replace, 300), (back, 90)):
        printed = [terminal.paste(command) for command in commands]
        assert days_left() == days
    assert re.search(r"CertificateExpired +secret/hello-tls .*expired on", printed[-1])
    assert re.search(r"CertificateExpired +ingress/hello .*expired on", printed[-1])
