"""Every daily kubectl command, its exit code and what it prints, as recorded.

``pytest --golden`` records anew; `session` runs the same against a real server, and what differs there
stands in docs/embedded-kubernetes.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kube.support import session
from tests.kube.support.server_process import Process


def test_the_daily_session_is_as_recorded(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    process = Process(tmp_path / "state")
    process.start()
    try:
        told = session.run(process.environment(), tmp_path)
    finally:
        process.end()
    if request.config.getoption("--golden"):
        session.TRANSCRIPT.write_text(told)
    assert told == session.TRANSCRIPT.read_text()
