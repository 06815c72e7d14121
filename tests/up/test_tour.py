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
    lines = block.splitlines()
    assert len(lines) <= 20
    commands = [line for line in lines[1:] if line[:1] not in {"#", " ", ""}]
    enter, see, secret, create, name, choose, replace, back, break_it, events = commands

    def days_left() -> int:
        page = terminal.paste(see)
        assert "Hello" in page
        found = re.search(r"expire date: (.*) GMT", page)
        assert found, page
        end = datetime.strptime(found[1], "%b %d %H:%M:%S %Y").replace(tzinfo=UTC)
        return round((end - datetime.now(UTC)).total_seconds() / 86_400)

    terminal.paste(enter)
    assert days_left() == 5
    terminal.paste(secret)
    until(lambda: days_left() == 90, "the Secret's new certificate is served")
    for line in (create, name, choose):
        terminal.paste(line)
    until(lambda: days_left() == 200, "the ELB's certificate is served")
    terminal.paste(replace)
    until(lambda: days_left() == 300, "its new content is served")
    terminal.paste(back)
    until(lambda: days_left() == 90, "the Secret's certificate is served again")
    terminal.paste(break_it)
    warnings = terminal.paste(events)
    assert re.search(r"CertificateExpired +secret/hello-tls .*expired on", warnings)
    assert re.search(r"CertificateExpired +ingress/hello .*expired on", warnings)
    assert days_left() == 90
