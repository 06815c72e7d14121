"""The embedded Kubernetes API, the ELB and the controller as processes that are started one by one, without `up`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from certferry.up.free_ports import free_ports
from tests.e2e.support import objects
from tests.e2e.support.real_cluster import RealSystem
from tests.e2e.support.waiting import until


class ApartSystem(RealSystem):
    """One state directory."""

    replicas = ()

    def __init__(self, state: Path) -> None:
        super().__init__(state, state / "kubeconfig")
        self._elb_port, self._kube_port = free_ports(2)

    def start_kube(self) -> None:
        """The Kubernetes API, which ``prepare`` needs."""
        self.state.mkdir(mode=0o700)
        self._run(
            "kube", *("--state", str(self.state), "--listen", f"127.0.0.1:{self._kube_port}"), "--loopback-endpoints"
        )
        until(self.kubeconfig.exists, "the Kubernetes API wrote its kubeconfigs")

    def elb_port(self) -> int:
        return self._elb_port

    def backend(self, namespace: str, name: str, port: int) -> list[Any]:
        return [objects.service(namespace, name), objects.endpoints(namespace, name, port)]

    def _node(self) -> None:
        until(lambda: self.kube().call("GET", "/readyz").status == 200, "the Kubernetes API is ready")
        for name in ("default", "kube-system", "certferry"):
            self.apply(objects.namespace(name))

    def _enter(self) -> Path:
        return self.state / "kubeconfig-controller"
