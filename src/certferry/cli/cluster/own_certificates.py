"""Addresses of this system's own certificates, for the controller's expiry alerts.

The controller knows those of the Kubernetes API and the ELB API from their URLs. The others come from the settings
file: the console, and the xDS server for remote Envoys.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path

from certferry.settings import ConsoleSettings, ElbSettings, host_port, read


def own_endpoints(environ: Mapping[str, str], config: Path | None) -> tuple[tuple[str, str], ...]:
    """Return name and host:port of each. Raises UserError."""
    console = read(ConsoleSettings, "console", {}, environ, config)
    elb = read(ElbSettings, "elb", {}, environ, config)
    listeners = (("console", console.listen if console.tls_certificate else ""), ("xDS", elb.remote_envoys.listen))
    return tuple((what, at) for what, listen in listeners if listen and (at := _reached(listen)))


def _reached(listen: str) -> str:
    """Return the address for a client on this machine; "" if the system chooses the port."""
    host, port = host_port(listen)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"{host}:{port}" if port else ""
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}") if port else ""
