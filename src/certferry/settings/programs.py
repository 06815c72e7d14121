"""Settings of the other programs: ``certferry up``, ``console`` and ``kube``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from certferry.settings.defaults import state_default


class UpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`certferry up`: the whole system from one directory."""

    state: Path = msgspec.field(default_factory=lambda: state_default(os.environ))
    """State directory."""
    kubeconfig: Path | None = None
    """Kubeconfig of an existing cluster that is served in place of the embedded Kubernetes API, without the demo."""
    demo: bool = True
    """Create the demo page and print the commands to try."""
    ready_timeout: float = 60.0
    """Seconds within which everything must be ready."""
    on_exit: Literal["stop", "keep"] = "stop"
    """At SIGTERM, Envoy stops too, or keeps serving until the next start adopts it. SIGINT (Ctrl+C) stops it."""


class ConsoleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`certferry console`: the web console for the clusters of the settings file."""

    listen: str = "127.0.0.1:9443"
    """Address and port; port 0 lets the system choose. Beyond loopback it needs `tls_certificate` and `tls_key`."""
    tls_certificate: Path | None = None
    """Certificate chain (PEM), leaf first; watched, so that a renewal needs no restart."""
    tls_key: Path | None = None
    """Its private key."""
    session_hours: float = 12
    """Longest session. It ends earlier if its ELB token expires."""
    idle_minutes: float = 60
    """Minutes after which an unused session ends."""
    role_names: dict[str, Literal["reader", "member", "admin"]] = {}
    """Maps further roles of a vendor's Keystone to reader, member or admin."""
    served_timeout: float = 30.0
    """Seconds within which a changed certificate must be served."""
    read_timeout: float = 30.0
    """Seconds within which a request must arrive completely; then its connection is closed."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of proxies in front: the `X-Forwarded-For` that they send counts."""


class KubeServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`certferry kube`: the embedded Kubernetes API."""

    state: Path = msgspec.field(default_factory=lambda: state_default(os.environ))
    """State directory: kubeconfigs, and everything else in its folder `kube`."""
    listen: str = "127.0.0.1:0"
    """Address and port; port 0: a free port, chosen at the first start and stored."""
    read_timeout: float = 30.0
    """Seconds within which a request must arrive completely; then its connection is closed."""
    loopback_endpoints: bool = False
    """Allow loopback addresses in EndpointSlices (a real server forbids them)."""
    service_cidr: str = "10.96.0.0/16"
    """Network of the cluster addresses of Services."""
    history_revisions: int = 10_000
    """Number of latest changes from which watches can resume."""
    history_seconds: float = 600.0
    """Seconds for which watches can resume from any change; older ones get 410 Gone."""
