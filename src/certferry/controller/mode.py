"""How a controller behaves: how much it sees, when it may write, and whether it writes at all.

``serve`` makes one from the settings and hands it to the loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from certferry.controller.monitoring_options import MonitoringOptions
from certferry.controller.sync.apply import ApplyContext, Outcome, apply
from certferry.core.drift.drift import Modes
from certferry.core.model.kubernetes import Name
from certferry.core.plan.plan import Step
from certferry.kube.client.cache import EVERYTHING, Scope
from certferry.kube.client.leader_election import LeaderElector

ApplySteps = Callable[
    [Sequence[Step], Mapping[str, str], Mapping[str, Name], ApplyContext], Awaitable[Outcome]
]


class ControllerMode(NamedTuple):
    """What differs between one controller, one of two replicas, and one that only looks."""

    scope: Scope = EVERYTHING
    leader: LeaderElector | None = None
    """None: it is the only one."""
    act: ApplySteps | None = apply
    """What carries out a plan; None: nothing does, what would be done is told."""
    vigil: MonitoringOptions = MonitoringOptions()
    """What it watches beside its work."""
    drift: Modes = Modes()
    """What becomes of changes that others make on the ELB."""
