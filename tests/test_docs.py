"""What people are told is explained somewhere."""

from __future__ import annotations

import re
from pathlib import Path

from certferry.core import annotations as known
from certferry.core import objects, problems

DOCS = Path(__file__).parent.parent / "docs"


def test_every_reason_has_a_heading_and_every_heading_a_reason() -> None:
    headings = re.findall(r"^## (\w+)$", (DOCS / "problems.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted({*problems.REASONS, *REPORTED})


def test_every_annotation_has_a_heading_and_every_heading_an_annotation() -> None:
    headings = re.findall(r"^### `([^`]+)`$", (DOCS / "annotations.md").read_text(), re.MULTILINE)
    ours = [f"{known.PREFIX}{row.key}" for row in known.ANNOTATIONS]
    ours += [row.key for row in known.OWN]
    ours += [f"{known.PREFIX}{key}" for key in known.OF_SERVICES if key != "cert-id"]
    ours += [objects.MASTER_ANNOTATION, objects.ROTATION_ANNOTATION, "kubernetes.io/ingress.class"]
    assert sorted(headings) == sorted(ours)


REPORTED = (
    "CertificateNotServed",
    "CertificateServed",
    "ListenerHandedOver",
    "LoadBalancerRefused",
    "QuotaExceeded",
)
