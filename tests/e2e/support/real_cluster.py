"""The system on an existing Kubernetes API: our ELB and controller, and the cluster that the environment names.

The controller enters as the service account of deploy/, with the rights that `certferry rbac` prints,
and no more. tools/kubernetes/cluster.py makes such a cluster.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from certferry.elb.client.credentials import Credentials
from certferry.up import accounts
from certferry.up import bootstrap as first
from certferry.up import free_ports as addresses
from certferry.up.envoy_pid import envoy_pid
from certferry.up.free_ports import free_ports, free_subnet
from tests.cli.test_cli import certferry
from tests.e2e.support import objects
from tests.e2e.support.forward import Forward
from tests.e2e.support.http import JsonApi
from tests.e2e.support.system import KUBECTL, ElbEndpoint, Endpoints, MetricsEndpoint, System
from tests.e2e.support.waiting import until

KUBECONFIG: Final = os.environ.get("CERTFERRY_TEST_KUBECONFIG", "")
ACCOUNT: Final = ("certferry", "certferry-controller")


class RealSystem(System):
    """An ELB and a controller of our own beside the cluster of `kubeconfig`."""

    rbac: tuple[str, ...] = ()
    """Flags for `certferry rbac`."""
    replicas: tuple[str, ...] = ("--lease", "/".join(ACCOUNT))
    """Flags of the controller that say how many there are."""

    def __init__(self, state: Path, kubeconfig: Path) -> None:
        super().__init__(state)
        self.kubeconfig = kubeconfig
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._controller: tuple[str, ...] = ()

    def start(self, seconds: float = 60) -> None:
        self.prepare()
        self.start_controller(seconds)

    def prepare(self) -> None:
        """Everything but the controller."""
        # Its lease and its Ingresses belong to one process at a time.
        self._turn = os.open(f"{self.kubeconfig}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.lockf(self._turn, fcntl.LOCK_EX)  # a module may start a second one
        self.state.mkdir(mode=0o700, exist_ok=True)
        elb_port, metrics_port = self.elb_port(), free_ports(1)[0]
        subnet = free_subnet()
        shift = addresses.privileged_shift(subnet)
        self._run(
            "elb",
            *("--state", str(self.state), "--listen", f"127.0.0.1:{elb_port}", "--vip-subnet", subnet),
            *("--privileged-shift", str(shift), "--accounts-for", "real"),
        )
        url = f"http://127.0.0.1:{elb_port}"
        until(lambda: JsonApi(url, {}).call("GET", "/healthz").status == 200, "the ELB answers")
        users = accounts.load(self.state / "elb-credentials.json")
        accounts.write_credentials(accounts.credentials(users, users.controller), self.state / "elb-controller.json")
        balancer = asyncio.run(first.load_balancer(url, accounts.credentials(users, users.admin), ""))
        door = msgspec.structs.asdict(users.admin)
        endpoints = Endpoints(
            kubeconfig=str(self.kubeconfig),
            elb=ElbEndpoint(
                url=url, project_id=users.project_id, domain=users.domain, loadbalancer_id=balancer.id, **door
            ),
            metrics=MetricsEndpoint(url=f"http://127.0.0.1:{metrics_port}"),
            port_map={str(p): p + shift for p in (80, 443)},
            pid=os.getpid(),
            processes={},
        )
        (self.state / "endpoints.json").write_bytes(msgspec.json.encode(endpoints))
        self._write_settings(url, accounts.credentials(users, users.admin), balancer.id)
        self._node()
        self.kubectl("delete", "ingress", "--all", "--all-namespaces")
        self._controller = (
            "controller",
            *("--kubeconfig", str(self._enter()), "--elb-url", self.elb_url(url)),
            *("--elb-credentials", str(self.state / "elb-controller.json")),
            *("--default-loadbalancer", balancer.id, *self.replicas),
            *("--listen", f"127.0.0.1:{metrics_port}"),
        )

    def launch_controller(self) -> None:
        """Start it, and do not wait."""
        self._run(*self._controller)

    def start_controller(self, seconds: float = 60) -> None:
        """Until it is ready; again after it was killed."""
        self.launch_controller()
        metrics = JsonApi(self.endpoints.metrics.url, {})
        until(lambda: metrics.call("GET", "/readyz").status == 200, "the controller is ready", seconds=seconds)

    def stop(self) -> int:
        """End all of it: at SIGINT the ELB ends its Envoy too."""
        for child in reversed(self._children.values()):
            child.send_signal(signal.SIGINT)
        code = max(child.wait(30) for child in self._children.values())
        os.close(self._turn)
        return code

    def pid(self, name: str) -> int:
        return envoy_pid(self.state / "envoy.json") if name == "envoy" else self._children[name].pid

    def elb_port(self) -> int:
        """Where the ELB is to listen."""
        return free_ports(1)[0]

    def elb_url(self, url: str) -> str:
        """Where the controller finds the ELB that is at `url`."""
        return url

    def child(self, name: str) -> subprocess.Popen[bytes]:
        """A process by its command."""
        return self._children[name]

    def backend(self, namespace: str, name: str, port: int) -> list[Any]:
        """A NodePort: a real server lets no EndpointSlice lead to loopback."""
        service = objects.service(namespace, name)
        service["spec"]["type"] = "NodePort"
        service["spec"]["ports"][0]["nodePort"] = Forward(port).port
        return [service]

    def kubectl(
        self, *arguments: str, give: Sequence[Any] = (), check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Real kubectl, before the ELB runs too."""
        done = subprocess.run(
            [str(KUBECTL), "--kubeconfig", str(self.kubeconfig), *arguments],
            input="\n---\n".join(map(json.dumps, give)),
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environment(),
            check=False,
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done

    def _run(self, *arguments: str) -> None:
        with self.output.open("ab") as output:
            self._children[arguments[0]] = subprocess.Popen(
                [sys.executable, "-m", "certferry", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment(),
            )

    def _write_settings(self, url: str, admin: Credentials, loadbalancer: str) -> None:
        """The settings file that `up` writes for the commands."""
        accounts.write_credentials(admin, self.state / "elb-admin.json")
        elb = {"url": url, "credentials_file": "elb-admin.json"}
        cluster = {
            "name": "local",
            "kubeconfig": str(self.kubeconfig),
            "elb": elb,
            "default_loadbalancer": loadbalancer,
        }
        (self.state / "certferry.yaml").write_text(yaml.safe_dump({"clusters": [cluster]}))

    def _node(self) -> None:
        """A Node object whose InternalIP is where the tests' backends listen."""
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "loopback"}}
        self.apply(node)
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        patch = json.dumps({"status": status})
        self.kubectl("patch", "node", "loopback", "--subresource=status", "--type=merge", "-p", patch)

    def _enter(self) -> Path:
        """A kubeconfig of the service account, with the rights that are printed for it."""
        printed = certferry("rbac", *self.rbac).stdout
        self.apply(*(o for o in yaml.safe_load_all(printed) if o))
        token = self.kubectl("create", "token", ACCOUNT[1], "-n", ACCOUNT[0]).stdout.strip()
        config = yaml.safe_load(self.kubeconfig.read_text())
        named = next(c for c in config["contexts"] if c["name"] == config["current-context"])
        config["users"] = [{"name": named["context"]["user"], "user": {"token": token}}]
        file = self.state / "kubeconfig-controller"
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(config))
        return file
