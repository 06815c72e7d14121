"""The mode of a controller: what it sees, when it may write, and whether it writes at all."""

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

ApplySteps = Callable[[Sequence[Step], Mapping[str, str], Mapping[str, Name], ApplyContext], Awaitable[Outcome]]


class ControllerMode(NamedTuple):
    """Differences between a single controller, a replica and one that only observes."""

    scope: Scope = EVERYTHING
    leader: LeaderElector | None = None
    """None: there is no other replica."""
    apply: ApplySteps | None = apply
    """Executes a plan; None: the controller only observes and reports."""
    monitoring: MonitoringOptions = MonitoringOptions()
    """Probes and alerts."""
    drift: Modes = Modes()
    """Handling of changes that another client makes on the ELB."""
