"""The programs of the embedded system and their command lines.

``run`` launches them by these. It is the one place that knows how the parts are told of each
other, and it starts nothing itself.
"""

from __future__ import annotations

from typing import Final

from certferry.up import free_ports as addresses
from certferry.up.saved_state import SavedState
from certferry.up.state_directory import StateDirectory

Arguments = tuple[str, ...]

CLUSTER: Final = "local"
"""What the ELB calls the cluster of the embedded API, as in “is owned by the controller of local”."""


def kube(home: StateDirectory, memory: SavedState) -> Arguments:
    """The embedded Kubernetes API."""
    return ("kube", "--state", str(home.root), "--listen", _at(memory.kube_port), "--loopback-endpoints")


def elb(home: StateDirectory, memory: SavedState) -> Arguments:
    """The load balancer service; it starts Envoy."""
    shared = ("--vip-shared-address", addresses.LOOPBACK) if memory.subnet == addresses.SHARED else ()
    where = shared or ("--vip-subnet", memory.subnet)
    shift = ("--privileged-shift", str(memory.privileged_shift))
    accounts = ("--accounts-for", CLUSTER)
    return ("elb", "--state", str(home.root), "--listen", _at(memory.elb_port), *where, *shift, *accounts)


def controller(home: StateDirectory, memory: SavedState) -> Arguments:
    """The controller, with a cluster credential and an ELB user of its own."""
    return (
        "controller",
        "--kubeconfig",
        str(home.controller_kubeconfig),
        "--elb-url",
        elb_url(memory),
        "--elb-credentials",
        str(home.controller_credentials),
        "--default-loadbalancer",
        memory.loadbalancer_id,
        "--listen",
        _at(memory.metrics_port),
    )


def console(home: StateDirectory, memory: SavedState) -> Arguments:
    """The web console."""
    return ("console", "--state", str(home.root), "--listen", _at(memory.console_port))


def backend(memory: SavedState) -> Arguments:
    """The demo's web server."""
    return ("demo", "backend", "--listen", _at(memory.backend_port))


def elb_url(memory: SavedState) -> str:
    """The ELB's origin."""
    return f"http://{_at(memory.elb_port)}"


def console_url(memory: SavedState) -> str:
    """The console's origin."""
    return f"http://{_at(memory.console_port)}"


def controller_url(memory: SavedState) -> str:
    """The controller's origin: metrics and health."""
    return f"http://{_at(memory.metrics_port)}"


def ports(memory: SavedState) -> dict[str, int]:
    """Every port on 127.0.0.1, by what it is for."""
    return {
        "Kubernetes API": memory.kube_port,
        "ELB API": memory.elb_port,
        "controller's metrics": memory.metrics_port,
        "console": memory.console_port,
        "demo backend": memory.backend_port,
    }


def _at(port: int) -> str:
    return f"{addresses.LOOPBACK}:{port}"
