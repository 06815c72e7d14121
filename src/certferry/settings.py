"""Settings: one frozen struct per program, read once.

The CLI reads them from flags, environment and file; everything else is handed the result.
"""

from __future__ import annotations

from pathlib import Path

import msgspec


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


class ElbSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`certferry elb`: the load balancer service."""

    state: Path
    """Its directory (0700): store, sealing key, lock."""
    listen: str = "127.0.0.1:0"
    """Address and port of the REST API; port 0 lets the system choose."""
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
    limits: ElbLimits = ElbLimits()
