"""Settings of ``certferry controller`` and of its alerts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from certferry.core.checks import Action, Severity
from certferry.core.drift.drift import Modes
from certferry.core.model.problems import Reason
from certferry.core.translate.ingress_annotations import TlsPolicy
from certferry.core.translate.members import Backends
from certferry.core.translate.services.claimants import ServiceSelection


class ControllerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``certferry controller``. Durations in seconds."""

    cluster: str = ""
    """Entry of ``clusters`` in the settings file, unless `elb_url` is set; optional with a single entry."""
    elb_url: str = ""
    """Origin of the ELB API. This and the next two take precedence over the cluster's entry."""
    elb_credentials: str = ""
    """JSON file, mode 0600: project_id, and an access key or a user with a password."""
    elb_ca: str | None = None
    """CA file of the ELB's certificate; without it the system's CAs."""
    kubeconfig: str | None = None
    """Kubeconfig file; without it the service account of the Pod."""
    context: str | None = None
    """Context of the kubeconfig; without it the current one."""
    listen_host: str = "127.0.0.1"
    """Address of /metrics, /healthz and /readyz."""
    listen_port: int = 9180
    """Their port; 0 lets the system choose."""
    observe: bool = False
    """Plan, probe and count, but write nothing, neither to the ELB nor to Kubernetes."""
    namespaces: tuple[str, ...] = ()
    """Watch only these namespaces; empty: all."""
    secrets: Literal["all", "named"] = "all"
    """`all` lists Secrets; `named` reads each Secret that an Ingress names by its name."""
    lease: str = ""
    """NAMESPACE/NAME of the Lease that elects the writing replica; empty: a single controller."""
    lease_seconds: float = 10.0
    """Duration of the lease: another replica leads after it. A leader stops after two thirds of it."""
    cluster_name: str = ""
    """Name of the cluster in alerts and messages."""
    class_name: str = "cce"
    """Ingress class of this controller, and its class of Services."""
    default_loadbalancer: str | None = None
    """Id of the load balancer for an Ingress that names none."""
    max_sni_certificates: int = 0
    """SNI certificates on one listener; 0: the ELB's limit, or 50 if it does not tell."""
    max_sni_names: int = 0
    """Names of all SNI certificates of one listener together; 0: the ELB's limit, or 200 if it does not tell."""
    max_policies: int = 0
    """Forwarding policies on one listener; 0: the ELB's limit, or 100 if it does not tell."""
    tls_ciphers_policy: Literal[""] | TlsPolicy = ""
    """TLS policy of an HTTPS listener without the annotation; empty: the default of our ELB (`elb.tls_ciphers_policy`),
    or `tls-1-2` elsewhere, as in CCE."""
    http2_enable: bool | None = None
    """HTTP/2 of an HTTPS listener without the annotation; none: the default of our ELB (`elb.http2_enable`), or off
    elsewhere, as in CCE."""
    resync: float = 60.0
    """Interval of a full read of the ELB."""
    debounce: float = 0.02
    """Quiet time after a change before a reconcile."""
    debounce_max: float = 0.25
    """Longest delay of a reconcile while changes continue."""
    probe_deadline: float = 10.0
    """Time within which a client must see a changed certificate."""
    deletion_delay: float = 30.0
    """Time that a certificate or load balancer of ours must be unused before its deletion."""
    services: ServiceSelection = "class"
    """Services of type LoadBalancer to serve: `class`, those whose spec.loadBalancerClass is `class_name`; `annotation`,
    also those without a class that have the annotation `kubernetes.io/elb.class`; or `off`."""
    backends: Backends = "auto"
    """Target of requests: Pods, node ports, or according to the type of each Service."""
    drift: Modes = Modes()
    """Reaction to changes of other clients on the ELB, per kind: repair, adopt, report or off."""
    namespaces_of_loadbalancer: Mapping[str, tuple[str, ...]] = {}
    """Namespaces that may use a load balancer, by its id or name; all may use an unlisted one."""
    namespaces_of_host: Mapping[str, tuple[str, ...]] = {}
    """Namespaces that may use hosts under a suffix; the longest suffix decides."""
    share_hosts_between_namespaces: bool = False
    """Allow Ingresses of several namespaces to have rules and certificates for one host. By default it belongs to the
    namespace of the oldest Ingress that claims it."""
    checks: Mapping[Reason | Severity, Action] = {}
    """Reaction to findings of checks: refuse, warn, info or off, by reason or by severity."""
    opaque_secrets: bool = True
    """Use an Opaque Secret with tls.crt and tls.key like a TLS Secret."""
    clock_skew: float = 300.0
    """Tolerance for the clocks of clients."""
    rollback_within: float = 10.0
    """Time within which an unusable certificate is rolled back, if the ELB keeps versions; 0: never."""
    probe_interval: float = 60.0
    """Interval of probes of each address and name while nothing changes; 0: never."""
    compromised: tuple[Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")], ...] = ()
    """Public keys whose certificates are to leave service: SHA-256 of the SubjectPublicKeyInfo, hex. For a load balancer
    without `certferry cert compromised`; the marks of an ELB of ours count in any case."""
    own_certificates: tuple[str, ...] = ()
    """host:port of further certificates of this system to watch. The controller always watches those of the
    two APIs, and of the console and the xDS server if the same settings file has their addresses."""


class AlertSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``alerts``: when the controller raises alerts, and where it sends them. Durations in seconds."""

    renewal_late: float = 1 / 3
    """Remaining share of the lifetime below which a renewal is late."""
    renewal_urgent: float = 1 / 6
    """Remaining share below which it is urgent."""
    renewal_critical: float = 1 / 20
    """Remaining share below which it is critical."""
    renewal_late_days: float | None = None
    """Remaining days instead of a share."""
    renewal_urgent_days: float | None = None
    """Remaining days instead of a share."""
    renewal_critical_days: float | None = None
    """Remaining days instead of a share."""
    stalled_rotations: int = 3
    """Number of due renewals, none of them done, that counts as a stall."""
    stalled_after: float = 86_400.0
    """Time since the last of them was due."""
    webhook: str = ""
    """URL that alerts are posted to; empty: none."""
    webhook_format: Literal["certferry", "alertmanager"] = "certferry"
    """Format of a post."""
    webhook_secret_file: Path | None = None
    """File (0600) with the key that signs posts."""
    webhook_ca: Path | None = None
    """CA file of the webhook's certificate; without it the system's CAs."""
    repeat_interval: float = 14_400.0
    """Interval at which an active alert is posted again."""
    runbook_url: str = "docs"
    """Base URL of the documentation; the runbook of each alert is below it."""
