"""Mark, wait, check, delete: what is dear to make again goes only when it was unused for a while.

A plan names what nobody uses any more; of that, certificates and load balancers are marked first,
and deleted when a later plan, made from a fresh look at the ELB, still names them after the wait.
An Ingress that is deleted and made again within it finds its certificate and its address. Called
by the controller's loop; the marks live with it, so that a restart waits anew.
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
    """The steps that may be carried out now, and what is marked."""

    steps: tuple[Step, ...]
    marks: Mapping[str, datetime] = MappingProxyType({})
    """Since when each id has been unused."""
    due: datetime | None = None
    """When the next of them may go."""


def select_deletions(
    steps: Sequence[Step], marks: Mapping[str, datetime], now: datetime, wait: timedelta
) -> DeletionSelection:
    """`marks`: those of the sweep before. What is used again loses its mark."""
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
