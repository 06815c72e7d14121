"""Logs are JSON on standard error and never contain a key."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.certs import authority

pytestmark = pytest.mark.process

PROGRAM = """
import logging, sys
import structlog
from certferry.runtime.logging import configure
configure("test")
key = sys.stdin.read()
structlog.get_logger("a").info("told", key=key)
logging.getLogger("b").warning("foreign %s", key)
try:
    raise ValueError(key)
except ValueError:
    structlog.get_logger("a").exception("failed")
    logging.getLogger("b").exception("failed")
"""


def test_every_line_is_json_on_stderr_without_keys() -> None:
    key = authority().issue("a.test").key
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=key, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"][:7] for line in lines] == ["told", "foreign", "failed", "failed"]
    assert lines[0]["program"] == "test"
    for row in key.splitlines():
        assert row not in done.stderr or row == ""
