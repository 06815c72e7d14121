"""The mode of a controller: what it sees, when it may write, and whether it writes at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from certferry.controller.sync.apply import ApplyContext, Outcome, apply
from certferry.core.diagnosis.alert_rules import AlertRules
from certferry.core.drift.drift import Modes
from certferry.core.model.kubernetes import Name
from certferry.core.plan.plan import Step
from certferry.kube.client.cache import EVERYTHING, Scope
from certferry.kube.client.leader_election import LeaderElector

ApplySteps = Callable[[Sequence[Step], Mapping[str, str], Mapping[str, Name], ApplyContext], Awaitable[Outcome]]


class MonitoringOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of probes, rollback and alerts. Times in seconds."""

    rules: AlertRules = AlertRules()
    rollback_within: float = 10.0
    """Seconds within which a certificate that clients cannot use is rolled back; 0: never."""
    probe_interval: float = 60.0
    """Seconds between two probes of each address and name while nothing changes; 0: no probes."""
    own_endpoints: tuple[tuple[str, str], ...] = ()
    """(purpose, host:port) of the certificates of this system itself."""


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
