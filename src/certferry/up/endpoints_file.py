"""``endpoints.json``: addresses and credentials of a running `certferry up`, for scripts.

`up` writes it atomically when all is ready and after each restart of a process. It removes it at start and end.
Mode 0600, because it holds a password.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from certferry.runtime import private_files


class Elb(msgspec.Struct, frozen=True, kw_only=True):
    """The ELB and an admin of it. Keystone is at ``{url}/v3``, resources at ``{url}/v3/{project_id}/elb``."""

    url: str
    project_id: str
    username: str
    password: str
    domain: str
    access_key: str
    secret_key: str
    loadbalancer_id: str

    def __repr__(self) -> str:
        return f"Elb({self.url!r}, …)"


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """The controller's metrics, in Prometheus' text form."""

    url: str


class Console(msgspec.Struct, frozen=True, kw_only=True):
    """The web console; the ELB's users log in."""

    url: str


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    kubeconfig: str
    elb: Elb
    console: Console
    metrics: Metrics
    port_map: Mapping[str, int]
    """Where ports of the first load balancer really are: {"80": 8080, "443": 8443}."""
    pid: int
    processes: Mapping[str, int]


def publish(file: Path, endpoints: Endpoints) -> None:
    """Write the file. Raises OSError."""
    private_files.write(file, msgspec.json.format(msgspec.json.encode(endpoints)).decode() + "\n")
