"""What is new in a large mapping of which nearly everything stays: the same objects, compared as such."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import compress
from operator import is_not
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def changed_keys(before: Mapping[K, V], after: Mapping[K, V]) -> Iterator[K]:
    """Keys of `after` that `before` has not, or has with another object; no Python is run for the others."""
    return compress(after, map(is_not, after.values(), map(before.get, after)))
