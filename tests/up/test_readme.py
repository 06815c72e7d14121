"""The session of README.md, pasted as it stands."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.support.waiting import until
from tests.up.terminal import Terminal

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = re.compile(r"# the certificate expires in (\d+) days")


def session() -> list[str]:
    """Return the lines of the session's blocks."""
    _, _, rest = (ROOT / "README.md").read_text().partition("## A session")
    text, _, _ = rest.partition("\n## ")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Yield a terminal in the clone, beside a running `certferry up` with the default state directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("CERTFERRY_CONFIG", raising=False)
    output = tmp_path / "output"
    with output.open("w") as file:
        up = subprocess.Popen(
            [sys.executable, "-m", "certferry", "up"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=ROOT,
            start_new_session=True,
        )
    shell = Terminal(ROOT)
    try:
        until(lambda: "Certferry is ready" in output.read_text(), "certferry up is ready", seconds=60)
        yield shell
    finally:
        shell.close()
        up.send_signal(signal.SIGINT)
        assert up.wait(30) == 0


@pytest.mark.timeout(240)
def test_the_session_of_the_readme_works_unchanged(terminal: Terminal) -> None:
    lines = session()
    assert sum(bool(EXPECTED.search(line)) for line in lines) == 5
    for line in lines:
        printed = terminal.paste(line)
        if expected := EXPECTED.search(line):
            assert "Hello" in printed
            end = re.search(r"expire date: (.*) GMT", printed)
            assert end, printed
            at = datetime.strptime(end[1], "%b %d %H:%M:%S %Y").replace(tzinfo=UTC)
            assert round((at - datetime.now(UTC)).total_seconds() / 86_400) == int(expected[1]), line
        if line.startswith("kubectl get events"):
            assert re.search(r"CertificateExpired +secret/hello-tls ", printed), printed
    assert "demo/hello-tls" in printed
