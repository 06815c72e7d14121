"""Compare large mappings by identity of the values: unchanged objects are the same objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import compress
from operator import is_not
from typing import Any, Final, NamedTuple, TypeVar

K = TypeVar("K")
V = TypeVar("V")
_KEPT: Final = 8
"""Differences that are kept for other readers: one for each type of xDS resource, and a few more."""


class Difference(NamedTuple):
    """The sorted keys of a later mapping that are new or have another object, and those it no longer has."""

    changed: tuple[str, ...]
    removed: tuple[str, ...]


_kept: list[tuple[Mapping[str, Any], Mapping[str, Any], Difference]] = []


def changed_keys(before: Mapping[K, V], after: Mapping[K, V]) -> Iterator[K]:
    """Yield keys of `after` that `before` lacks or has with another object. The loop runs in C."""
    return compress(after, map(is_not, after.values(), map(before.get, after)))


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Difference:
    """Return the difference of two mappings. It is computed once for all readers of the same two."""
    for old, new, result in _kept:
        if old is before and new is after:
            return result
    result = Difference(
        tuple(sorted(changed_keys(before, after))), tuple(sorted(key for key in before if key not in after))
    )
    _kept.append((before, after, result))
    del _kept[:-_KEPT]
    return result
