"""Options of the whole suite."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

from tests.support import examples
from tests.support.chromium import CHROMIUM
from tests.support.go_programs import HELM, REQUIRED

# how fast the machine is decides no test
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fast", settings.get_profile("suite"), max_examples=10)
settings.load_profile("suite")


PROCESS_FOLDERS: Final = ("cli", "console", "e2e", "elb/server/dataplane", "elb/server/store", "kube/apiserver", "up")
"""Folders whose tests start real processes; single tests elsewhere have the mark ``process``."""

_fast = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", action="store_true", help="rewrite the expected outputs of golden files")
    parser.addoption("--fast", action="store_true", help="leave out tests that start a process")


def pytest_configure(config: pytest.Config) -> None:
    global _fast
    _fast = bool(config.getoption("--fast"))
    config.addinivalue_line("markers", "process: starts a real process; left out by --fast")
    if _fast:
        sys.addaudithook(_no_process)
        examples.draw_few()


def _no_process(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen" and "PYTEST_CURRENT_TEST" in os.environ:
        raise AssertionError(f"a fast test started {arguments[0]}: mark it with pytest.mark.process")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    below = collection_path.relative_to(Path(__file__).parent).as_posix() if _fast else ""
    return True if below in PROCESS_FOLDERS else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _fast:
        slow = [item for item in items if item.get_closest_marker("process")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if CHROMIUM is None and not os.environ.get("CI") and not _fast:
        terminalreporter.write_line(
            "The console's browser tests were not collected: there is no Chromium (apt-get install chromium)."
        )
    if not (HELM or REQUIRED or _fast):
        terminalreporter.write_line(
            "The tests of the Helm chart were not collected: there is no helm (make deploy-tools)."
        )
