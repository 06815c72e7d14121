"""ELB and Envoy with the settings and command lines of the Helm chart, set up as docs/production.md says."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from certferry.up.free_ports import free_ports
from tests.e2e.support.http import JsonApi
from tests.e2e.support.tls import Address, fingerprint, get, handshake
from tests.e2e.support.waiting import until
from tests.support.certs import authority
from tests.support.chart import pods, render

VALUES = {"elb": {"enabled": True, "address": "127.0.0.1"}, "envoy": {"enabled": True, "concurrency": 1}}
SERVICE = "certferry-elb.certferry.svc"


class Cluster:
    """Stands in for the cluster: the mounts of the Pods are below `place`, and all ports are on loopback."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.api_port, self.xds_port, self.https_port = free_ports(3)
        self.objects = render(VALUES)
        self.pods = pods(self.objects)
        self.running: list[subprocess.Popen[bytes]] = []
        for folder in ("lib", "tls", "etc", "envoy", "work"):
            (place / folder).mkdir(mode=0o700)
        pair = authority().issue(SERVICE, "localhost")
        (place / "tls" / "tls.crt").write_text(pair.certificate)
        (place / "tls" / "tls.key").write_text(pair.key)
        (settings,) = [
            o["data"]["certferry.yaml"]
            for o in self.objects
            if o["kind"] == "ConfigMap" and o["metadata"]["name"] == "certferry-elb"
        ]
        self.settings = place / "etc" / "certferry.yaml"
        self.settings.write_text(self.here(settings))

    def here(self, text: str) -> str:
        """A text of the chart with this machine's paths and ports."""
        for there, path in (
            ("/var/lib/certferry", self.place / "lib"),
            ("/run/secrets/tls", self.place / "tls"),
            ("/etc/envoy", self.place / "envoy"),
            ("0.0.0.0:8443", f"127.0.0.1:{self.api_port}"),
            (f"{SERVICE}:8443", f"localhost:{self.api_port}"),
            ("0.0.0.0:18000", f"127.0.0.1:{self.xds_port}"),
            (f"{SERVICE}:18000", f"127.0.0.1:{self.xds_port}"),
        ):
            text = text.replace(there, str(path))
        return text

    def environment(self) -> dict[str, str]:
        programs = Path(sys.executable).parent
        return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "CERTFERRY_CONFIG": str(self.settings)}

    def start(self, pod: str) -> None:
        """Run the one container of a Pod; its output is in `place`/NAME.log."""
        (container,) = self.pods[pod]["containers"]
        command = [*container.get("command", ["certferry"]), *map(self.here, container["args"])]
        with (self.place / f"{container['name']}.log").open("wb") as log:
            self.running.append(
                subprocess.Popen(
                    command,
                    env=self.environment(),
                    cwd=self.place / "work",
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )

    def execute(self, *words: str, give: str = "") -> str:
        """As `kubectl exec` in the Pod of the ELB."""
        done = subprocess.run(
            ["certferry", *words], input=give, env=self.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> None:
        for process in reversed(self.running):
            process.send_signal(signal.SIGINT)
            process.wait(20)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.stop()


def logged_in(api: JsonApi, password: str) -> str:
    """Log `api` in as the admin, and return the path of the resources."""
    identity = {
        "methods": ["password"],
        "password": {"user": {"name": "admin", "password": password, "domain": {"name": "Default"}}},
    }
    answer = api.call("POST", "/v3/auth/tokens", {"auth": {"identity": identity}})
    assert answer.status == 201, answer
    api.headers["X-Auth-Token"] = answer.headers["x-subject-token"]
    return f"/v3/{answer.body['token']['project']['id']}/elb"


def test_a_certificate_rotates_on_an_envoy_that_runs_as_the_chart_says(cluster: Cluster) -> None:
    cluster.start("certferry-elb")
    trust = ssl.create_default_context(cadata=authority().certificate)
    api = JsonApi(f"https://localhost:{cluster.api_port}", {}, trust)
    (container,) = cluster.pods["certferry-elb"]["containers"]
    until(lambda: api.call("GET", container["readinessProbe"]["httpGet"]["path"]).status == 200, "the ELB is ready")

    cluster.execute("user", "add", "admin", "--role", "admin", give="a long password\n")
    cluster.execute("user", "add", "controller-this", "--role", "controller", "--cluster", "this", "--no-password")
    cluster.execute("user", "keys", "controller-this", "--new", "--out", str(cluster.place / "elb.json"))
    elb = logged_in(api, "a long password")

    def create(kind: str, **fields: Any) -> str:
        return str(api.want(201, "POST", f"{elb}/{kind}s", {kind: fields})[kind]["id"])

    balancer = create("loadbalancer", name="edge", guaranteed=True)
    first, second = authority().issue("shop.example.com"), authority().issue("shop.example.com")
    certificate = create("certificate", name="shop", certificate=first.certificate, private_key=first.key)
    create(
        "listener",
        loadbalancer_id=balancer,
        protocol="HTTPS",
        protocol_port=cluster.https_port,
        default_tls_container_ref=certificate,
    )
    at = f"127.0.0.1:{cluster.xds_port}"
    out = str(cluster.place / "envoy" / "envoy.json")
    cluster.execute(
        "envoy", "add", "edge", "--loadbalancer", balancer, "--address", "127.0.0.1", "--elb", at, "--out", out
    )
    cluster.start("certferry-envoy")

    address = Address("127.0.0.1", cluster.https_port)
    until(lambda: handshake(address, "shop.example.com") == fingerprint(first.certificate), "the first is served")
    content = {"certificate": second.certificate, "private_key": second.key}
    api.want(200, "PUT", f"{elb}/certificates/{certificate}", {"certificate": content})
    until(lambda: handshake(address, "shop.example.com") == fingerprint(second.certificate), "the second is served")
    assert get(address, "shop.example.com") in (404, 503)
    log = cluster.place / "envoy.log"
    until(lambda: '"status":' in log.read_text(), "the request is in the container's output")
