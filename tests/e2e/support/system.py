"""The system as a user starts it: `certferry up` on a state directory, and the endpoints that it writes.

All that is known about it stands in `endpoints.json`. It is started, stopped and killed as processes;
nothing of it is imported.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from tests.e2e.support import objects
from tests.e2e.support.http import JsonApi
from tests.e2e.support.waiting import until

KUBECTL: Final = Path(sys.executable).parent / "kubectl"
PARTS: Final = ("kube", "elb", "envoy", "controller")


class ElbEndpoint(msgspec.Struct, frozen=True):
    """The ELB in endpoints.json."""

    url: str
    project_id: str
    username: str
    password: str
    domain: str
    access_key: str
    secret_key: str
    loadbalancer_id: str


class ConsoleEndpoint(msgspec.Struct, frozen=True):
    """The console in endpoints.json."""

    url: str


class MetricsEndpoint(msgspec.Struct, frozen=True):
    """The metrics in endpoints.json."""

    url: str


class Endpoints(msgspec.Struct, frozen=True):
    """endpoints.json."""

    kubeconfig: str
    elb: ElbEndpoint
    metrics: MetricsEndpoint
    port_map: dict[str, int]
    pid: int
    processes: dict[str, int]
    console: ConsoleEndpoint = ConsoleEndpoint("")


class System:
    """One state directory and the `certferry up` that runs on it."""

    def __init__(self, state: Path, settings: Mapping[str, str] | None = None) -> None:
        self.state = state
        self.output = state.parent / "output"
        """All that `up` wrote, over all its lives."""
        self.settings = dict(settings or {})
        self.process: subprocess.Popen[bytes] | None = None

    # -- life

    def command(self) -> list[str]:
        return [sys.executable, "-m", "certferry", "up", "--state", str(self.state), "--no-demo"]

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.settings, "KUBECACHEDIR": str(self.state.parent / "kubectl-cache")}

    def start(self, seconds: float = 60) -> None:
        """Until all is ready."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment(),
                start_new_session=True,
            )
        until(self._ready, "`certferry up` is ready", seconds=seconds)

    def _ready(self) -> bool:
        assert self.process is not None
        code = self.process.poll()
        if code is not None:
            raise RuntimeError(f"`certferry up` ended with {code}:\n{self.output.read_text()[-3000:]}")
        return self._written().pid == self.process.pid

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)

    def kill(self, *names: str) -> None:
        """SIGKILL to parts by their name; "up" is one too, and goes first so that it restarts no other part."""
        pids = self.endpoints.processes | {"up": self.endpoints.pid}
        for name in sorted(names, key=lambda n: n != "up"):
            os.kill(pids[name], signal.SIGKILL)
        if "up" in names and self.process is not None:
            self.process.wait(10)

    def pid(self, name: str) -> int:
        return self.endpoints.processes[name]

    def revived(self, name: str, former: int, seconds: float = 30) -> int:
        """The pid of `name` once `up` has started it again."""

        def replaced() -> int | None:
            pid = self._written().processes[name]
            return pid if pid != former and alive(pid) else None

        return until(replaced, f"`up` starts {name} again", seconds=seconds)

    def answers(self) -> bool:
        """Whether every part runs and answers now."""
        kube = self.kube().call("GET", "/readyz").status
        elb = JsonApi(self.endpoints.elb.url, {}).call("GET", "/healthz").status
        controller = JsonApi(self.endpoints.metrics.url, {}).call("GET", "/readyz").status
        return (kube, elb, controller) == (200, 200, 200) and alive(self.pid("envoy"))

    # -- doors

    def _written(self) -> Endpoints:
        text = (self.state / "endpoints.json").read_bytes()
        try:
            return msgspec.json.decode(text, type=Endpoints)
        except msgspec.ValidationError as unfit:
            raise RuntimeError(f"endpoints.json: {unfit}") from unfit

    @property
    def endpoints(self) -> Endpoints:
        return self._written()

    def kubectl(
        self, *arguments: str, give: Sequence[Any] = (), check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Real kubectl; the objects in `give` are its standard input."""
        done = subprocess.run(
            [str(KUBECTL), "--kubeconfig", self.endpoints.kubeconfig, *arguments],
            input="\n---\n".join(map(json.dumps, give)),
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environment(),
            check=False,
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done

    def apply(self, *given: Any) -> None:
        self.kubectl("apply", "-f", "-", give=given)

    def backend(self, namespace: str, name: str, port: int) -> list[Any]:
        """A Service that leads to `port` on this machine."""
        return [objects.service(namespace, name), objects.endpoints(namespace, name, port)]

    def kube(self) -> JsonApi:
        """The Kubernetes API with the kubeconfig's rights."""
        return kube_api(Path(self.endpoints.kubeconfig))

    def elb(self) -> JsonApi:
        """The ELB as the admin of endpoints.json, by password and token."""
        door = self.endpoints.elb
        user = {"name": door.username, "password": door.password, "domain": {"name": door.domain}}
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"project": {"id": door.project_id}}
        api = JsonApi(door.url, {})
        answer = api.call("POST", "/v3/auth/tokens", {"auth": {"identity": identity, "scope": scope}})
        assert answer.status == 201, answer
        api.headers["X-Auth-Token"] = answer.headers["x-subject-token"]
        return api

    def elb_path(self, *parts: str) -> str:
        return "/".join((f"/v3/{self.endpoints.elb.project_id}/elb", *parts))


def kube_api(kubeconfig: Path) -> JsonApi:
    """The API server that `kubeconfig` names, with its token."""
    config = yaml.safe_load(kubeconfig.read_text())
    context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
    cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
    user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    headers = {"Authorization": f"Bearer {user['token']}", "Accept": "application/json"}
    context = ssl.create_default_context(cadata=authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return JsonApi(cluster["server"], headers, context)


def alive(pid: int) -> bool:
    """Whether a process runs (one that ended and was not waited for does not)."""
    done = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=10
    )
    return done.returncode == 0 and not done.stdout.strip().startswith("Z")
