"""Options of the whole suite."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.support.chromium import CHROMIUM

# how fast the machine is decides no test
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", action="store_true", help="rewrite the expected outputs of golden files")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if CHROMIUM is None and not os.environ.get("CI"):
        terminalreporter.write_line(
            "The console's browser tests were not collected: there is no Chromium (apt-get install chromium)."
        )
