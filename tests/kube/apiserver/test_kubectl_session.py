"""A recorded kubectl session: every daily command with its exit code and output.

``pytest --golden`` records it again. ``tests.kube.support.session`` runs the same against a real server;
docs/embedded-kubernetes.md lists the differences.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kube.support import session
from tests.kube.support.server_process import Process


def test_the_kubectl_session_matches_the_recording(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    process = Process(tmp_path / "state")
    process.start()
    try:
        told = session.run(process.environment(), tmp_path)
    finally:
        process.end()
    if request.config.getoption("--golden"):
        session.TRANSCRIPT.write_text(told)
    assert told == session.TRANSCRIPT.read_text()
