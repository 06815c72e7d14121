"""A running embedded API for tests: in this process for speed, or as a process that a test can kill."""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from certferry.kube.apiserver.main import running
from certferry.settings import KubeServerSettings

KUBECTL = Path(sys.executable).with_name("kubectl")
TIMEOUT = 20.0
Json = dict[str, Any]


class Reply:
    """A response of the server."""

    def __init__(self, code: int, body: Any, headers: Mapping[str, str]) -> None:
        self.code, self.body, self.headers = code, body, headers


class Watching:
    """An open watch that keeps HTTP chunks apart."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> Json:
        """Return the next event, which must be exactly one chunk."""
        data, ended = b"", False
        while not ended:
            part, ended = await self.response.content.readchunk()
            if not part and self.response.content.at_eof():
                raise EOFError
            data += part
            ended = ended and bool(data)
        assert data.endswith(b"\n")
        body: Json = json.loads(data)
        return body

    async def types(self, count: int) -> list[str]:
        return [(await self.next())["type"] for _ in range(count)]


class Client:
    """Requests to one server as one user."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        headers = {"Content-Type": options.pop("media", "application/json"), "Accept": options.pop("accept", "*/*")}
        headers |= options.pop("headers", {})
        if agent := options.pop("agent", ""):
            headers["User-Agent"] = agent
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        async with self.session.request(method, self.url + path, data=data, headers=headers, **options) as answer:
            raw = await answer.read()
            body = json.loads(raw) if "json" in answer.headers["Content-Type"] else raw.decode()
            return Reply(answer.status, body, answer.headers)

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any, **options: Any) -> Reply:
        return await self.call("POST", path, body, **options)

    async def put(self, path: str, body: Any, **options: Any) -> Reply:
        return await self.call("PUT", path, body, **options)

    async def patch(self, path: str, body: Any, kind: str = "merge", **options: Any) -> Reply:
        media = {"json": "json-patch", "merge": "merge-patch", "strategic": "strategic-merge-patch"}[kind]
        return await self.call("PATCH", path, body, media=f"application/{media}+json", **options)

    async def delete(self, path: str, body: Any = None, **options: Any) -> Reply:
        return await self.call("DELETE", path, body, **options)

    @asynccontextmanager
    async def watch(self, path: str, **params: str) -> AsyncIterator[Watching]:
        async with self.session.get(
            self.url + path, params={"watch": "1"} | params, timeout=aiohttp.ClientTimeout(sock_read=TIMEOUT)
        ) as response:
            assert response.status == 200, await response.text()
            yield Watching(response)


@asynccontextmanager
async def server(state: Path, **settings: Any) -> AsyncIterator[Client]:
    """Run a server in this process and yield its admin's client."""
    async with running(KubeServerSettings(state=state, **settings)), client(state) as admin:
        yield admin


@asynccontextmanager
async def client(state: Path, kubeconfig: str = "kubeconfig", **tls: Path) -> AsyncIterator[Client]:
    """Return a client with the credentials of a kubeconfig, or with a client certificate (`cert`, `key`)."""
    config = yaml.safe_load((state / kubeconfig).read_text())
    cluster = config["clusters"][0]["cluster"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
    if tls:
        context.load_cert_chain(tls["cert"], tls["key"])
        headers = {}
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield Client(session, cluster["server"])


class Process:
    """The server as a process."""

    def __init__(self, state: Path, *flags: str) -> None:
        self.state, self.flags = state, flags
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "certferry", "kube", "--state", str(self.state), *self.flags],
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + TIMEOUT
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start: {self.end()}")
            time.sleep(0.02)

    def _ready(self) -> bool:
        kubeconfig = self.state / "kubeconfig"
        if not kubeconfig.exists():
            return False
        url = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        context = ssl.create_default_context(cafile=str(self.state / "kube" / "ca.crt"))
        try:
            with urllib.request.urlopen(f"{url}/readyz", context=context, timeout=TIMEOUT) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        """Send SIGKILL."""
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(TIMEOUT)
        self._close()

    def end(self) -> str:
        """Send SIGTERM if it still runs; return its output."""
        assert self.process
        self.process.terminate()
        said = self.process.communicate(timeout=TIMEOUT)[1]
        self._close()
        return said

    def _close(self) -> None:
        assert self.process
        if self.process.stderr:
            self.process.stderr.close()

    def kubectl(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a real kubectl with this server's kubeconfig only."""
        return subprocess.run(
            [KUBECTL, *arguments],
            env=self.environment() | environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        home = self.state / "home"
        home.mkdir(parents=True, exist_ok=True)
        return os.environ | {"HOME": str(home), "KUBECONFIG": str(self.state / "kubeconfig")}


def secret(name: str, **data: str) -> Json:
    """Return a Secret as JSON; values are given as plain text."""
    encoded = {k.replace("_", "."): base64.b64encode(v.encode()).decode() for k, v in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}


def ingress(name: str, **spec: Any) -> Json:
    """Return an Ingress with one rule and additional fields of its spec."""
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rule = {"host": "a.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {"ingressClassName": "cce", "rules": [rule]} | spec,
    }
