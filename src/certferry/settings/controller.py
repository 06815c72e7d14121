"""Settings of ``certferry controller``, and of what it tells people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from certferry.core.checks import Action, Severity
from certferry.core.drift.drift import Modes
from certferry.core.model.problems import Reason
from certferry.core.translate.members import Backends


class ControllerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``certferry controller``. Times in seconds."""

    cluster: str = ""
    """Which entry of ``clusters`` in the settings file it works for, where no `elb_url` is given."""
    elb_url: str = ""
    """Origin of the ELB API. This and the next two beat the cluster's entry."""
    elb_credentials: str = ""
    """Path of a JSON file, mode 0600: project_id, and an access key or a user with a password."""
    elb_ca: str | None = None
    """Path of the authority that the ELB's certificate comes from; None: the system's."""
    kubeconfig: str | None = None
    """None: the service account of the Pod."""
    context: str | None = None
    listen_host: str = "127.0.0.1"
    listen_port: int = 9180
    """/metrics, /healthz, /readyz; 0 lets the system choose."""
    observe: bool = False
    """Writes nothing, neither to the ELB nor to Kubernetes: it plans, probes, and counts."""
    namespaces: tuple[str, ...] = ()
    """Only these are looked at; empty: all."""
    secrets: Literal["all", "named"] = "all"
    """Whether Secrets are listed, or each one that an Ingress names is read by its name."""
    lease: str = ""
    """NAMESPACE/NAME of the Lease by which replicas agree who writes; empty: there is one controller."""
    lease_seconds: float = 10.0
    """How long after its last renewal a leader that is gone is replaced; it stops two thirds into it."""
    cluster_name: str = ""
    class_name: str = "cce"
    default_loadbalancer: str | None = None
    max_sni_certificates: int = 50
    """SNI certificates on one listener; the ELB has a limit of its own, which must not be lower."""
    max_sni_names: int = 200
    """Names of all SNI certificates of one listener together; as above."""
    resync: float = 60.0
    debounce: float = 0.02
    """Quiet time after a change before a reconcile."""
    debounce_max: float = 0.25
    """Longest time that changes may go on before a reconcile."""
    probe_deadline: float = 10.0
    """How long a changed certificate may take until a client sees it."""
    deletion_delay: float = 30.0
    """How long a certificate or a load balancer of ours has to be unused before it is deleted."""
    backends: Backends = "auto"
    """Where requests are sent: to Pods, to node ports, or as each Service's type says."""
    drift: Modes = Modes()
    """What becomes of changes on the ELB, per kind: repair, adopt, report or off."""
    namespaces_of_loadbalancer: Mapping[str, tuple[str, ...]] = {}
    """Which namespaces may use a load balancer, by its id or name; what is not named is for all."""
    namespaces_of_host: Mapping[str, tuple[str, ...]] = {}
    """Which namespaces may use hosts under a suffix; the longest suffix decides."""
    checks: Mapping[Reason | Severity, Action] = {}
    """What to do with what the checks find: refuse, warn, info or off, by reason or by severity."""
    clock_skew: float = 300.0
    """How far the clocks of clients may be off."""
    rollback_within: float = 10.0
    """How soon a certificate that clients cannot use is taken back, where the ELB keeps versions; 0: never."""
    probe_interval: float = 60.0
    """How often each address and name is looked at while nothing changes; 0: never."""
    own_certificates: tuple[str, ...] = ()
    """host:port of further certificates of this system itself that are watched too. Those of the two APIs, and
    of the console and the xDS server where the same settings file says where they are, are by themselves."""


class AlertSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``alerts``: when the controller speaks, and to whom. Times in seconds."""

    renewal_late: float = 1 / 3
    """Share of its life that is left when a renewal counts as late,"""
    renewal_urgent: float = 1 / 6
    """as urgent,"""
    renewal_critical: float = 1 / 20
    """and as an emergency."""
    renewal_late_days: float | None = None
    """The same in days, where those are preferred."""
    renewal_urgent_days: float | None = None
    renewal_critical_days: float | None = None
    stalled_rotations: int = 3
    """So many renewals due and none done is a stall,"""
    stalled_after: float = 86_400.0
    """once the last of them has been due for so long."""
    webhook: str = ""
    """Where alerts are posted to; empty: nowhere."""
    webhook_format: Literal["certferry", "alertmanager"] = "certferry"
    webhook_secret_file: Path | None = None
    """The key (0600) that signs what is posted."""
    webhook_ca: Path | None = None
    """The authority of the webhook's certificate; None: the system's."""
    repeat_interval: float = 14_400.0
    """How often an alert that stands is told again."""
    runbook_url: str = "docs"
    """Where the documentation is; the page of each alert is below it."""
