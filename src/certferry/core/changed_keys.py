"""Find changed keys in a large mapping, by identity of the values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import compress
from operator import is_not
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def changed_keys(before: Mapping[K, V], after: Mapping[K, V]) -> Iterator[K]:
    """Yield keys of `after` that `before` lacks or has with another object. The loop runs in C."""
    return compress(after, map(is_not, after.values(), map(before.get, after)))
