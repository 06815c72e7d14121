"""`certferry elb` as a process of its own, filled with certificates, for ``bench.elb``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from certferry.core.x509.pem import KeyPair, parse_pair
from certferry.elb.server.dataplane.envoy.supervisor import Record
from certferry.elb.server.identity.bootstrap import bootstrap
from certferry.settings import ElbLimits, ElbSettings
from tests.elb.support.dataplane import free_port
from tests.elb.support.server import Api, send
from tests.support.certs import authority

ADDRESS = "127.0.0.1"
_LIMITS = {"certificate": -1, "sni_certificates": 5000, "sni_names": 5000}


class Service:
    """The process, and how to speak to it."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "elb"
        self._origin = f"http://{ADDRESS}:{free_port()}"
        settings = ElbSettings(state=self.state, limits=ElbLimits(**_LIMITS))
        accounts = bootstrap(settings, cluster="bench")
        self.api = Api(self._origin, accounts.project_id, accounts.admin)
        self._process: subprocess.Popen[bytes] | None = None
        self._session: aiohttp.ClientSession | None = None
        self.shift = 0

    async def __aenter__(self) -> Service:
        environment = {
            **os.environ,
            "CERTFERRY_ELB_LIMITS": json.dumps(_LIMITS),
            "CERTFERRY_ELB_VIP_SHARED_ADDRESS": ADDRESS,
        }
        command = [sys.executable, "-m", "certferry", "elb", "--state", str(self.state)]
        command += ["--listen", self._origin.removeprefix("http://")]
        with (self.state.parent / "elb.log").open("wb") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: ASYNC220
        self._session = aiohttp.ClientSession()
        while not self._answers():
            assert self._process.poll() is None, "the ELB ended"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        assert self._process is not None
        await self._session.close()
        self._process.send_signal(signal.SIGINT)  # and Envoy with it
        self._process.wait(20)

    def _answers(self) -> bool:
        try:
            return bool(send(self._origin, "GET", "/healthz").body.get("connected"))
        except OSError:
            return False

    async def put(self, path: str, body: Any) -> Any:
        """A signed PUT over a kept connection; raises on anything but 200."""
        return await self._request("PUT", path, body, 200)

    async def post(self, path: str, body: Any) -> Any:
        """A signed POST."""
        return await self._request("POST", path, body, 201)

    async def _request(self, method: str, path: str, body: Any, wanted: int) -> Any:
        assert self._session is not None
        data = json.dumps(body).encode()
        full = f"/v3/{self.api.project_id}/elb{path}"
        headers = self.api.signed(method, full, body=data)
        async with self._session.request(method, self._origin + full, data=data, headers=headers) as answer:
            text = await answer.text()
            assert answer.status == wanted, text
            return json.loads(text)

    async def certificate(self, name: str) -> str:
        """A new certificate for `name`; its id."""
        body = {"name": name, "domain": name, **wire(issue(name))}
        return str((await self.post("/certificates", {"certificate": body}))["certificate"]["id"])

    async def listener(self, loadbalancer: str, certificates: list[str], **fields: Any) -> tuple[str, int]:
        """A new HTTPS listener with `certificates`, the first its default; id and port."""
        port = free_port()
        body = {
            "loadbalancer_id": loadbalancer,
            "protocol": "HTTPS",
            "protocol_port": port - self.shift,
            "default_tls_container_ref": certificates[0],
            "sni_container_refs": certificates,
            "tls_ciphers_policy": "tls-1-2-fs-with-1-3",
            "http2_enable": True,
            **fields,
        }
        return (await self.post("/listeners", {"listener": body}))["listener"]["id"], port

    async def renew(self, identifier: str, pair: KeyPair) -> None:
        """New content."""
        await self.put(f"/certificates/{identifier}", {"certificate": wire(pair)})

    def pids(self) -> dict[str, int]:
        """Of the service and of its Envoy."""
        assert self._process is not None
        record = msgspec.json.decode((self.state / "envoy.json").read_bytes(), type=Record)
        return {"service": self._process.pid, "envoy": record.process.pid}


def issue(name: str) -> KeyPair:
    """A pair for one name."""
    return parse_pair(*authority().issue(name))


def wire(pair: KeyPair) -> dict[str, str]:
    """As a request has it."""
    return {"certificate": pair.chain.pem, "private_key": pair.key.reveal()}


def rss(pid: int) -> float:
    """Resident MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
