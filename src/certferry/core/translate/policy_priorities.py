"""Assign priorities to the policies of a listener with advanced forwarding.

The wanted order comes from Ingresses (``elb.ingress-order``, the order of their paths), else the more specific rule
comes first. Numbers that are in order stay, so that a new path changes no other policy. Every number is unique, because
an ELB refuses duplicates.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Mapping, Sequence
from typing import Final

MOST: Final = 10_000
_RANKS: Final = {"EQUAL_TO": 0, "STARTS_WITH": 1, "REGEX": 2}


def particular(host: str, compare: str, path: str) -> tuple[int, int, int]:
    """Return a sort key, the more specific rule first: a host before none, exact before prefix, longer first."""
    hosted = 2 if not host else 1 if host.startswith("*") else 0
    return hosted, _RANKS[compare], -len(path)


def assign(wanted: Sequence[str], have: Mapping[str, int], used: Collection[int]) -> Mapping[str, int]:
    """Return rising numbers for `wanted`. `have`: the present ones; `used`: all on the listener."""
    kept = _rising([(key, have[key]) for key in wanted if 1 <= have.get(key, 0) <= MOST])
    numbers = dict(kept)
    taken = set(used)
    waiting: list[str] = []
    low = 0
    for key in [*wanted, None]:
        if key is not None and key not in kept:
            waiting.append(key)
            continue
        high = kept[key] if key is not None else MOST + 1
        free = [n for n in range(low + 1, high) if n not in taken]
        if len(free) < len(waiting):
            return _anew(wanted, taken)
        # room is left on both sides of each
        chosen = _spread(free, len(waiting), end=key is None)
        numbers |= dict(zip(waiting, chosen, strict=True))
        waiting, low = [], high
    return numbers


def _spread(free: Sequence[int], count: int, *, end: bool) -> list[int]:
    if end:
        stride = max(1, min(100, len(free) // max(1, count)))
        return [free[min(len(free) - 1, stride * (n + 1) - 1)] for n in range(count)]
    return [free[(n + 1) * len(free) // (count + 1)] for n in range(count)]


def _anew(wanted: Sequence[str], taken: Collection[int]) -> Mapping[str, int]:
    free = [n for n in range(1, MOST + 1) if n not in taken]
    return dict(zip(wanted, _spread(free, len(wanted), end=True), strict=True))


def _rising(numbered: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Return the longest subsequence of `numbered` whose numbers rise."""
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for at, (_, number) in enumerate(numbered):
        place = bisect.bisect_left(tails, number)
        before.append(ends[place - 1] if place else -1)
        tails[place : place + 1], ends[place : place + 1] = [number], [at]
    rising: dict[str, int] = {}
    at = ends[-1] if ends else -1
    while at >= 0:
        rising[numbered[at][0]] = numbered[at][1]
        at = before[at]
    return rising
