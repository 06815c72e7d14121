"""Every row of the vendor's tables, and every mistake that a user can make, has its golden case.

``checklist.yaml`` says which. A row without a case, a case that is not there, and a case that no
row names are failures.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from certferry.core.translate import ingress_annotations as known
from certferry.core.translate.services import listener_annotations
from tests.support.golden import TESTDATA

ROWS = yaml.safe_load((Path(__file__).parent / "checklist.yaml").read_text())


def cases() -> set[str]:
    return {p.name.removesuffix(".in.yaml") for p in (TESTDATA / "translate").glob("*.in.yaml")}


def named() -> set[str]:
    return {case for table in ROWS.values() for found in table.values() for case in found}


def test_every_row_has_a_case_that_is_there() -> None:
    assert [f"{t}: {row}" for t, table in ROWS.items() for row, found in table.items() if not found] == []
    assert sorted(named() - cases()) == []


def test_every_case_belongs_to_a_row() -> None:
    assert sorted(cases() - named()) == []


def test_every_annotation_has_a_row_and_is_in_its_cases() -> None:
    rows = {row for table in ROWS.values() for row in table}
    keys = [row.key for row in (*known.ANNOTATIONS, *known.OWN, *listener_annotations.OWN)]
    keys += known.OF_SERVICES
    assert [key for key in keys if key not in rows] == []
    for table in ROWS.values():
        for row, found in table.items():
            if row in keys:
                texts = [(TESTDATA / "translate" / f"{case}.in.yaml").read_text() for case in found]
                assert any(row in text for text in texts), row
