"""The programs of the embedded system and their command lines.

``run`` launches them by these. It is the one place that knows how the parts are told of each
other, and it starts nothing itself.
"""

from __future__ import annotations

from pathlib import Path

from certferry.up import addresses
from certferry.up.home import Home
from certferry.up.memory import Memory

Arguments = tuple[str, ...]


def kube(home: Home, memory: Memory) -> Arguments:
    """The embedded Kubernetes API."""
    return ("kube", "--state", str(home.root), "--listen", _at(memory.kube_port))


def elb(home: Home, memory: Memory) -> Arguments:
    """The load balancer service; it starts Envoy."""
    shared = ("--vip-shared-address", addresses.LOOPBACK) if memory.subnet == addresses.SHARED else ()
    where = shared or ("--vip-subnet", memory.subnet)
    shift = ("--privileged-shift", str(memory.privileged_shift))
    return ("elb", "--state", str(home.root), "--listen", _at(memory.elb_port), *where, *shift)


def controller(home: Home, memory: Memory) -> Arguments:
    """The controller, with a cluster credential and an ELB user of its own."""
    return (
        "controller",
        "--kubeconfig",
        str(controller_kubeconfig(home)),
        "--elb-url",
        elb_url(memory),
        "--elb-credentials",
        str(home.root / "elb-controller.json"),
        "--default-loadbalancer",
        memory.loadbalancer_id,
        "--metrics",
        _at(memory.metrics_port),
    )


def backend(memory: Memory) -> Arguments:
    """The demo's web server."""
    return ("demo", "backend", "--listen", _at(memory.backend_port))


def controller_kubeconfig(home: Home) -> Path:
    """The controller's own credential for the embedded API."""
    return home.root / "controller.kubeconfig"


def elb_url(memory: Memory) -> str:
    """The ELB's origin."""
    return f"http://{_at(memory.elb_port)}"


def metrics_url(memory: Memory) -> str:
    """Where the controller's metrics are."""
    return f"http://{_at(memory.metrics_port)}/metrics"


def _at(port: int) -> str:
    return f"{addresses.LOOPBACK}:{port}"
