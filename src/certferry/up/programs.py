"""Command lines of the programs of `up`, and their addresses."""

from __future__ import annotations

from typing import Final

from certferry.up import free_ports
from certferry.up.saved_state import SavedState
from certferry.up.state_directory import StateDirectory

Arguments = tuple[str, ...]

CLUSTER: Final = "local"
"""Name of the embedded cluster for the ELB."""


def kube(directory: StateDirectory, saved: SavedState) -> Arguments:
    """Return the arguments of the embedded Kubernetes API."""
    return ("kube", "--state", str(directory.root), "--listen", _at(saved.kube_port), "--loopback-endpoints")


def elb(directory: StateDirectory, saved: SavedState) -> Arguments:
    """Return the arguments of the ELB, which starts Envoy."""
    shared = ("--vip-shared-address", free_ports.LOOPBACK) if saved.subnet == free_ports.SHARED else ()
    where = shared or ("--vip-subnet", saved.subnet)
    shift = ("--privileged-shift", str(saved.privileged_shift))
    accounts = ("--accounts-for", CLUSTER, "--trusted-proxy", free_ports.LOOPBACK)
    return ("elb", "--state", str(directory.root), "--listen", _at(saved.elb_port), *where, *shift, *accounts)


def controller(directory: StateDirectory, saved: SavedState) -> Arguments:
    """Return the arguments of the controller, with a kubeconfig and an ELB user of its own."""
    return (
        "controller",
        "--kubeconfig",
        str(directory.controller_kubeconfig),
        "--elb-url",
        elb_url(saved),
        "--elb-credentials",
        str(directory.controller_credentials),
        "--default-loadbalancer",
        saved.loadbalancer_id,
        "--listen",
        _at(saved.metrics_port),
    )


def console(directory: StateDirectory, saved: SavedState) -> Arguments:
    """Return the arguments of the console."""
    return ("console", "--state", str(directory.root), "--listen", _at(saved.console_port))


def backend(saved: SavedState) -> Arguments:
    """Return the arguments of the demo's web server."""
    return ("demo", "backend", "--listen", _at(saved.backend_port))


def elb_url(saved: SavedState) -> str:
    """Return the ELB's origin."""
    return f"http://{_at(saved.elb_port)}"


def console_url(saved: SavedState) -> str:
    """Return the console's origin."""
    return f"http://{_at(saved.console_port)}"


def controller_url(saved: SavedState) -> str:
    """Return the controller's origin, for metrics and health."""
    return f"http://{_at(saved.metrics_port)}"


def ports(saved: SavedState) -> dict[str, int]:
    """Return every port on 127.0.0.1, by purpose."""
    return {
        "Kubernetes API": saved.kube_port,
        "ELB API": saved.elb_port,
        "controller's metrics": saved.metrics_port,
        "console": saved.console_port,
        "demo backend": saved.backend_port,
    }


def _at(port: int) -> str:
    return f"{free_ports.LOOPBACK}:{port}"
