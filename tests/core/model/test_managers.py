"""Golden cases: metadata in, who will overwrite a change out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from certferry.core.model.managers import managers
from tests.support import golden


@pytest.mark.parametrize("path", golden.cases("managed"))
def test_golden(path: Path, pytestconfig: pytest.Config) -> None:
    golden.check(path, _produce, rewrite=pytestconfig.getoption("golden"))


def _produce(given: Any) -> Any:
    return [{"tool": m.tool, "where": m.where, "sentence": m.sentence} for m in managers(given)]
