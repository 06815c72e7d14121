"""Which certificates of this system itself the settings know: the controller watches them by default.

Those of the Kubernetes and the ELB API it knows from their URLs. The others are those of programs that
share its settings file: the console's, and that of the ELB's door for remote Envoys (xDS).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path

from certferry.settings import ConsoleSettings, ElbSettings, host_port, read


def own_endpoints(environ: Mapping[str, str], config: Path | None) -> tuple[tuple[str, str], ...]:
    """(what it is, host:port where it is shown) of each. Raises ``Refused``."""
    console = read(ConsoleSettings, "console", {}, environ, config)
    elb = read(ElbSettings, "elb", {}, environ, config)
    found = (
        ("console", console.listen if console.tls_certificate else ""),
        ("xDS", elb.remote_envoys.listen),
    )
    return tuple((what, at) for what, listen in found if listen and (at := _reached(listen)))


def _reached(listen: str) -> str:
    """Where a client on this machine finds it; "" where the system chose the port."""
    host, port = host_port(listen)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"{host}:{port}" if port else ""
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}") if port else ""
