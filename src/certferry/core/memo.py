"""Results of pure functions on equal arguments, kept from one pass over the cluster to the next.

A function gets exactly the arguments that are compared, so a kept result is the one that it would return. What depends
on the present instant is not kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Memo:
    """One result for each function and place (a listener, for example). For one thread at a time."""

    def __init__(self) -> None:
        self._before: dict[tuple[Any, object], tuple[tuple[Any, ...], Any]] = {}
        self._now: dict[tuple[Any, object], tuple[tuple[Any, ...], Any]] = {}

    def begin(self) -> None:
        """Begin a pass: forget the places that the last one did not need."""
        self._before, self._now = self._now, {}

    def call(self, place: object, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the result of the pure `function`, computed anew only if an argument differs from the last pass's.

        Unchanged objects are the same objects, so that the comparison of large mappings takes little time.
        """
        key, given = (function, place), (args, kwargs)
        kept = self._now.get(key) or self._before.get(key)
        result = kept[1] if kept and kept[0] == given else function(*args, **kwargs)
        self._now[key] = given, result
        return result
