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
    demo: bool = True
    """Make the demo page and print how to try things out."""
    ready_timeout: float = 60.0
    """Seconds to wait for everything to be ready."""


class ConsoleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`certferry console`: the web console for the clusters of the settings file."""

    listen: str = "127.0.0.1:9443"
    """Anything but loopback needs `tls_certificate` and `tls_key`; port 0 lets the system choose."""
    tls_certificate: Path | None = None
    """PEM, leaf first."""
    tls_key: Path | None = None
    session_hours: float = 12
    """At most; a session that is not used ends after `idle_minutes`, and when its ELB token does."""
    idle_minutes: float = 60
    role_names: dict[str, Literal["reader", "member", "admin"]] = {}
    """What the roles of another vendor's Keystone amount to, beside reader, member and admin."""
    served_timeout: float = 30.0
    """Seconds in which a changed certificate is expected to be served."""


class KubeServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`certferry kube`: the embedded Kubernetes API."""

    state: Path = msgspec.field(default_factory=lambda: state_default(os.environ))
    """The kubeconfigs are written here; all else in its folder `kube`."""
    listen: str = "127.0.0.1:0"
    """Port 0: one that is free, chosen at the first start and kept."""
    loopback_endpoints: bool = False
    """Whether an EndpointSlice may name loopback addresses (a real server forbids them)."""
    service_cidr: str = "10.96.0.0/16"
    """Where Services get their cluster addresses from."""
    history_revisions: int = 10_000
    """Watches resume from any of the last so many changes,"""
    history_seconds: float = 600.0
    """and from any change younger than this; older ones are told 410 Gone."""
