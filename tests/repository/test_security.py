"""SECURITY.md names existing tests, and each row of its threat model has one."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_claim_of_the_threat_model_names_existing_tests() -> None:
    model = (ROOT / "SECURITY.md").read_text().partition("## Threat model")[2].partition("\n## ")[0]
    rows = [row for row in model.splitlines() if row.startswith("| ") and " tests |" not in row]
    assert len(rows) > 10
    names = {name for row in rows for name in re.findall(r"`(test_\w+)`", row)}
    assert [row for row in rows if "`test_" not in row] == []
    source = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    assert sorted(name for name in names if f"def {name}(" not in source) == []
