"""Delay the deletion of certificates and load balancers.

The first plan that deletes one only marks it. A later plan deletes it if it is still unused after the deletion delay.
An Ingress that is deleted and created again in between finds its certificate and its address. Marks are in memory, so
that a restart begins the delay again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

import msgspec

from certferry.core.plan.sni_moves import STANDS_IN
from certferry.core.plan.steps import Step

WAITING: Final = ("certificate", "loadbalancer")


class DeletionSelection(msgspec.Struct, frozen=True, kw_only=True):
    """The steps that may be carried out now, and the marks."""

    steps: tuple[Step, ...]
    marks: Mapping[str, datetime] = MappingProxyType({})
    """The instant from which each id has been unused."""
    due: datetime | None = None
    """The instant of the next deletion."""


def select_deletions(
    steps: Sequence[Step], marks: Mapping[str, datetime], now: datetime, wait: timedelta
) -> DeletionSelection:
    """Return the steps that are due. `marks` are those of the last call; an object in use again loses its mark."""
    waiting = {step.id: marks.get(step.id, now) for step in steps if _waits(step) and step.id}
    late = {ref for ref, since in waiting.items() if now - since >= wait}
    ahead = [since + wait for ref, since in waiting.items() if ref not in late]
    return DeletionSelection(
        steps=tuple(step for step in steps if not _waits(step) or step.id in late),
        marks=MappingProxyType(waiting),
        due=min(ahead, default=None),
    )


def _waits(step: Step) -> bool:
    return step.verb == "delete" and step.kind in WAITING and step.why != STANDS_IN
