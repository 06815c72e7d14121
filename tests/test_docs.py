"""What people are told is explained somewhere."""

from __future__ import annotations

import re
from pathlib import Path

from certferry.core import problems

DOCS = Path(__file__).parent.parent / "docs"


def test_every_reason_has_a_heading_and_every_heading_a_reason() -> None:
    headings = re.findall(r"^## (\w+)$", (DOCS / "problems.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted({*problems.REASONS, *REPORTED})


REPORTED = ("CertificateNotServed", "CertificateServed", "LoadBalancerRefused", "QuotaExceeded")
