"""How a controller behaves: how much it sees, when it may write, and whether it writes at all.

``serve`` makes one from the settings and hands it to the loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from certferry.controller.monitoring_options import Vigil
from certferry.controller.sync.apply import Hands, Outcome, apply
from certferry.core.drift.drift import Modes
from certferry.core.model.kubernetes import Name
from certferry.core.plan.plan import Step
from certferry.kube.client.cache import EVERYTHING, Scope
from certferry.kube.client.leader_election import Leader

Act = Callable[[Sequence[Step], Mapping[str, str], Mapping[str, Name], Hands], Awaitable[Outcome]]


class Conduct(NamedTuple):
    """What differs between one controller, one of two replicas, and one that only looks."""

    scope: Scope = EVERYTHING
    leader: Leader | None = None
    """None: it is the only one."""
    act: Act | None = apply
    """What carries out a plan; None: nothing does, what would be done is told."""
    vigil: Vigil = Vigil()
    """What it watches beside its work."""
    drift: Modes = Modes()
    """What becomes of changes that others make on the ELB."""
