"""ELB and Envoy with the settings and command lines of the Helm chart, set up as docs/production.md says."""

from __future__ import annotations

import base64
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from certferry.up.free_ports import free_ports
from tests.e2e.support.http import JsonApi
from tests.e2e.support.tls import Address, fingerprint, get, handshake
from tests.e2e.support.waiting import until
from tests.elb.support.postgres import postgres
from tests.support.certs import authority
from tests.support.chart import Object, pods, render

ONE: Final[Object] = {"elb": {"enabled": True, "address": "127.0.0.1"}, "envoy": {"enabled": True, "concurrency": 1}}
TWO: Final[Object] = {
    "elb": {
        **ONE["elb"],
        "replicas": 2,
        "databaseSecret": "database",
        "encryptionKeySecret": "encryption",
        "persistence": {"enabled": False},
    },
    "envoy": ONE["envoy"],
}
SERVICE: Final = "certferry-elb.certferry.svc"
PASSWORD: Final = "a long password"
HOST: Final = "shop.example.com"


class Pod:
    """The one container of a Pod of the chart; its mounts are below `place`, and all ports are on loopback."""

    def __init__(self, spec: Object, place: Path, here: dict[str, str], secrets: dict[str, str]) -> None:
        (self.container,) = spec["containers"]
        self.place, self._here = place, here
        self._environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            **{e["name"]: self.here(self._value(e, secrets)) for e in self.container.get("env", ())},
        }
        self.log = place / f"{self.container['name']}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def _value(variable: Object, secrets: dict[str, str]) -> str:
        if "value" in variable:
            return str(variable["value"])
        chosen = variable["valueFrom"]["secretKeyRef"]
        return secrets[f"{chosen['name']}/{chosen['key']}"]

    def here(self, text: str) -> str:
        """A text of the chart with this machine's paths and ports."""
        for there, path in self._here.items():
            text = text.replace(there, path)
        return text

    def start(self) -> None:
        command = [*self.container.get("command", ["certferry"]), *map(self.here, self.container["args"])]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, cwd=self.place, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def execute(self, *words: str, give: str = "") -> None:
        """As `kubectl exec`."""
        done = subprocess.run(
            ["certferry", *words], input=give, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(20)


class Release:
    """The Pods of a release of the chart."""

    def __init__(self, place: Path, values: Object, secrets: dict[str, str]) -> None:
        objects = render(values)
        specs = pods(objects)
        (settings,) = [
            o["data"]["certferry.yaml"]
            for o in objects
            if o["kind"] == "ConfigMap" and o["metadata"]["name"] == "certferry-elb"
        ]
        pair = authority().issue(SERVICE, "localhost")
        self.apis: list[int] = []
        self.elbs: list[Pod] = []
        self.xds_port = 0
        for number in range(values["elb"].get("replicas", 1)):
            api, xds = free_ports(2)
            self.apis.append(api)
            self.xds_port = self.xds_port or xds
            folder = place / f"elb-{number}"
            for name in ("lib", "tls", "etc"):
                (folder / name).mkdir(mode=0o700, parents=True)
            here = {
                "/var/lib/certferry": str(folder / "lib"),
                "/run/secrets/tls": str(folder / "tls"),
                "/etc/certferry": str(folder / "etc"),
                "0.0.0.0:8443": f"127.0.0.1:{api}",
                f"{SERVICE}:8443": f"localhost:{api}",
                "0.0.0.0:18000": f"127.0.0.1:{xds}",
                f"{SERVICE}:18000": f"127.0.0.1:{xds}",
            }
            pod = Pod(specs["certferry-elb"], folder, here, secrets)
            (folder / "tls" / "tls.crt").write_text(pair.certificate)
            (folder / "tls" / "tls.key").write_text(pair.key)
            (folder / "etc" / "certferry.yaml").write_text(pod.here(settings))
            self.elbs.append(pod)
        (place / "envoy").mkdir()
        self.envoy = Pod(specs["certferry-envoy"], place / "envoy", {"/etc/envoy": str(place / "envoy")}, {})

    def api(self, number: int) -> JsonApi:
        """The API of a replica, as soon as its readiness probe succeeds."""
        trust = ssl.create_default_context(cadata=authority().certificate)
        api = JsonApi(f"https://localhost:{self.apis[number]}", {}, trust)
        probe = self.elbs[number].container["readinessProbe"]["httpGet"]
        until(lambda: api.call("GET", probe["path"]).status == 200, "the ELB is ready")
        return api

    def stop(self) -> None:
        for pod in (self.envoy, *self.elbs):
            pod.stop()


@pytest.fixture(params=[ONE, TWO], ids=["one-with-sqlite", "two-on-postgresql"])
def release(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Release]:
    with postgres() as server:
        key = base64.b64encode(os.urandom(32)).decode()
        made = Release(tmp_path, request.param, {"database/url": server.database(), "encryption/key": key})
        yield made
        made.stop()


def logged_in(api: JsonApi) -> str:
    """Log `api` in as the admin, and return the path of the resources."""
    user = {"name": "admin", "password": PASSWORD, "domain": {"name": "Default"}}
    answer = api.call(
        "POST", "/v3/auth/tokens", {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    )
    assert answer.status == 201, answer
    api.headers["X-Auth-Token"] = answer.headers["x-subject-token"]
    return f"/v3/{answer.body['token']['project']['id']}/elb"


def test_a_certificate_rotates_on_an_envoy_that_runs_as_the_chart_says(release: Release, tmp_path: Path) -> None:
    first_elb = release.elbs[0]
    for pod in release.elbs:
        pod.start()
    api = release.api(0)
    first_elb.execute("user", "add", "admin", "--role", "admin", give=f"{PASSWORD}\n")
    first_elb.execute("user", "add", "controller-this", "--role", "controller", "--cluster", "this", "--no-password")
    first_elb.execute("user", "keys", "controller-this", "--new", "--out", str(tmp_path / "elb.json"))
    elb = logged_in(api)

    def create(kind: str, **fields: Any) -> str:
        return str(api.want(201, "POST", f"{elb}/{kind}s", {kind: fields})[kind]["id"])

    (port,) = free_ports(1)
    balancer = create("loadbalancer", name="edge", guaranteed=True)
    first, second = authority().issue(HOST), authority().issue(HOST)
    certificate = create("certificate", name="shop", certificate=first.certificate, private_key=first.key)
    create(
        "listener",
        loadbalancer_id=balancer,
        protocol="HTTPS",
        protocol_port=port,
        default_tls_container_ref=certificate,
    )
    where = ("--address", "127.0.0.1", "--elb", f"127.0.0.1:{release.xds_port}")
    out = release.envoy.place / "envoy.json"
    first_elb.execute("envoy", "add", "edge", "--loadbalancer", balancer, *where, "--out", str(out))
    release.envoy.start()

    address = Address("127.0.0.1", port)
    until(lambda: handshake(address, HOST) == fingerprint(first.certificate), "the first is served")
    content = {"certificate": second.certificate, "private_key": second.key}
    last = release.api(-1)  # another replica than that of Envoy, if there are two
    last.want(200, "PUT", f"{logged_in(last)}/certificates/{certificate}", {"certificate": content})
    until(lambda: handshake(address, HOST) == fingerprint(second.certificate), "the second is served")
    assert get(address, HOST) in (404, 503)
    until(lambda: '"status":' in release.envoy.log.read_text(), "the request is in the container's output")
