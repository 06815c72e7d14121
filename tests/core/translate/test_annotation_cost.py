"""Annotations of the maximum size (256 KiB) are read in linear time: one Ingress delays no other."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

import pytest

from certferry.core.model.kubernetes import Ingress, Meta
from certferry.core.translate.ingress_annotations import ANNOTATIONS, OWN, PREFIX, read

SIZE: Final = 250_000
VALUES: Final = {
    "ids": ",".join(f"{number:032x}" for number in range(SIZE // 33)),
    "one id": ",".join(["0" * 32] * (SIZE // 33)),
    "commas": "," * SIZE,
    "digits": "9" * SIZE,
    "letters": "a" * SIZE,
    "spaces": " " * SIZE,
    "deep JSON": "[" * (SIZE // 2) + "]" * (SIZE // 2),
    "objects": "[" + ",".join(['{"HTTP":80}'] * (SIZE // 12)) + "]",
    "keys": "{" + ",".join(f'"k{number}":1' for number in range(SIZE // 12)) + "}",
    "slashes": "/" * SIZE,
    "dots": "a." * (SIZE // 2),
    "pairs": ",".join(f"k{number}=v" for number in range(SIZE // 10)),
    "addresses": ",".join(f"10.0.{number % 256}.0/24" for number in range(SIZE // 14)),
}


def seconds(**annotations: str) -> float:
    meta = Meta(namespace="a", name="b", uid="u", created=datetime(2026, 1, 1, tzinfo=UTC), annotations=annotations)
    begun = time.process_time()
    read(Ingress(meta=meta, class_name="cce"))
    return time.process_time() - begun


@pytest.mark.parametrize("text", VALUES)
def test_a_long_value_is_read_in_linear_time(text: str) -> None:
    slow = {}
    for key in [*(PREFIX + row.key for row in ANNOTATIONS), *(row.key for row in OWN)]:
        if (took := seconds(**{key: VALUES[text]})) > 0.3:
            slow[key] = took
    assert slow == {}


def test_many_unknown_annotations_are_read_in_linear_time() -> None:
    assert seconds(**{f"{PREFIX}unknown-and-long-{number:06}": "" for number in range(SIZE // 40)}) < 1
