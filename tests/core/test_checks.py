"""Golden cases of the checks, and of what may replace what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from certferry.core import checks
from tests import golden
from tests.core.worlds import NOW, chain


@pytest.mark.parametrize("path", golden.cases("checks"))
def test_golden(path: Path, pytestconfig: pytest.Config) -> None:
    golden.check(path, _produce, rewrite=pytestconfig.getoption("golden"))


def _produce(given: Any) -> Any:
    hosts = tuple(given.get("hosts", ()))
    new = chain("new", **given["new"])
    old = chain("old", **given["old"]) if "old" in given else None
    objection = checks.objection(new, old, hosts, NOW)
    return {
        "findings": [f"{f.reason}: {f.sentence}" for f in checks.findings(new, hosts, NOW)],
        "objection": objection.sentence if objection else None,
        "look again": checks.next_instant(new, NOW),
    }
