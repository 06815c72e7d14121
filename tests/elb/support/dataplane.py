"""A data plane for tests: xDS server, a real Envoy, a backend, and clients that look at it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from certferry.core.envoy import Options
from certferry.core.x509.pem import Chain, KeyPair, PrivateKey, parse_pair
from certferry.elb.server.dataplane.envoy.supervisor import EnvoySupervisor
from certferry.elb.server.dataplane.xds.fallback import RejectionFile
from certferry.elb.server.dataplane.xds.server import AdsServer
from certferry.elb.server.store.projection import Publication
from certferry.runtime.latest import Latest
from certferry.settings import EnvoyOptions
from tests.elb.support.states import state
from tests.support.certs import authority, rsa_key

DEADLINE = 20.0
OPTIONS = EnvoyOptions(concurrency=1, drain_seconds=2)


class Plane:
    """Everything in one directory; `publish` and look."""

    def __init__(self, directory: Path, world: World, edge: Options | None = None) -> None:
        self.edge = edge or Options()
        self.directory = directory
        self.world = world
        self.socket = directory / "run" / "xds.sock"
        self.publications = Latest(world.publication())
        self.ads = self._ads()
        self.envoy = self.supervisor()

    def _ads(self) -> AdsServer:
        return AdsServer(
            self.publications, self.edge, RejectionFile(self.directory / "rejections.json", self.world.contents.get)
        )

    def supervisor(self, options: EnvoyOptions = OPTIONS) -> EnvoySupervisor:
        return EnvoySupervisor(self.directory, self.directory / "run", self.socket, options)

    def publish(self) -> None:
        self.publications.set(self.world.publication())

    async def restart_ads(self, pause: Callable[[], Any] = lambda: None) -> None:
        """The control plane ends; then a new one, which knows nothing of the old, begins."""
        await self.ads.stop()
        pause()
        self.ads = self._ads()
        await self.ads.start(self.socket)

    async def counters(self, pattern: str) -> dict[str, int]:
        text = await self.envoy.admin.ask(f"/stats?filter={pattern}")
        return {k: int(v) for k, _, v in (row.partition(": ") for row in text.splitlines()) if v.isdigit()}

    async def accepted(self, slot: str, digest: str) -> None:
        """Wait until Envoy has accepted `digest` on a slot."""
        await until(lambda: (s := self.ads.status().get(slot)) is not None and s.accepted == digest)

    async def up(self) -> None:
        """Waits until every listener takes connections, those for datagrams excepted."""
        for listener in self.world.state.listeners.values():
            if listener.protocol == "UDP":
                continue
            await until_true(functools.partial(_connects, listener.protocol_port))


class World:
    """A State under construction: pairs by certificate id, listeners on free ports of one address."""

    def __init__(self, **written: Any) -> None:
        self.pairs: dict[str, KeyPair] = {}
        self.withheld: set[str] = set()
        self.contents: dict[str, tuple[Chain, PrivateKey]] = {}
        """Contents by digest, as the store keeps them."""
        written = {"loadbalancers": {"lb": {"vip_address": "127.0.0.1"}}, **written}
        self.state = state(written, self._issue)

    def publication(self) -> Publication:
        keys = {pair.chain.digest: pair.key for name, pair in self.pairs.items() if name not in self.withheld}
        return Publication(self.state, keys)

    def renew(self, name: str, *, domain: tuple[str, ...] | None = None) -> Chain:
        """New content for a certificate; with `domain`, also other names."""
        certificate = self.state.certificates[name]
        domain = certificate.domain if domain is None else domain
        pair = parse_pair(*authority().issue(*(domain or (name,))))
        self.put(name, pair.chain, pair.key)
        changed = msgspec.structs.replace(self.state.certificates[name], domain=domain)
        self.add("certificates", name, changed)
        return pair.chain

    def put(self, name: str, chain: Chain, key: PrivateKey) -> None:
        if (before := self.pairs.get(name)) is not None:
            self.contents[before.chain.digest] = (before.chain, before.key)
        self.pairs[name] = KeyPair(chain=chain, key=key)
        self.add("certificates", name, msgspec.structs.replace(self.state.certificates[name], chain=chain))

    def change(self, kind: str, name: str, **fields: Any) -> None:
        self.add(kind, name, msgspec.structs.replace(getattr(self.state, kind)[name], **fields))

    def drop(self, kind: str, name: str) -> None:
        rest = {n: o for n, o in getattr(self.state, kind).items() if n != name}
        self.state = msgspec.structs.replace(self.state, **{kind: rest})

    def fingerprint(self, name: str) -> str:
        return self.pairs[name].chain.fingerprint

    def digest(self, name: str) -> str:
        return self.pairs[name].chain.digest

    def add(self, kind: str, name: str, value: Any) -> None:
        self.state = msgspec.structs.replace(self.state, **{kind: {**getattr(self.state, kind), name: value}})

    def _issue(self, name: str, body: Mapping[str, Any]) -> Chain | None:
        kind = body.get("key", "P-256")
        if kind is None:
            return None
        key = rsa_key(int(kind[4:])) if kind.startswith("RSA-") else None
        pair = parse_pair(*authority().issue(*(body.get("domain") or [f"{name}.example.com"]), key=key))
        self.pairs[name] = pair
        return pair.chain


def https(port: int, certificates: Mapping[str, Any], *sni: str, **fields: Any) -> dict[str, Any]:
    """A world with one HTTPS listener ``web``: default certificate ``main``, SNI certificates `sni`."""
    listener = {
        "loadbalancer_id": "lb",
        "protocol": "HTTPS",
        "protocol_port": port,
        "default_tls_container_ref": "main",
        "sni_container_refs": list(sni),
        "http2_enable": True,
        "tls_ciphers_policy": "tls-1-2-fs-with-1-3",
        "default_pool_id": "pool",
    }
    return {"listeners": {"web": listener | fields}, "certificates": {"main": {}} | dict(certificates)}


def pool(port: int) -> dict[str, Any]:
    member = {"id": "m", "address": "127.0.0.1", "protocol_port": port}
    return {"pool": {"loadbalancer_id": "lb", "name": "pool", "members": [member]}}


@contextlib.asynccontextmanager
async def running(world: World, edge: Options | None = None, options: EnvoyOptions = OPTIONS) -> AsyncIterator[Plane]:
    """A plane that serves `world`, until the block ends; Envoy's log is shown if it fails."""
    directory = Path(tempfile.mkdtemp(prefix="certferry-"))
    plane = Plane(directory, world, edge)
    plane.envoy = plane.supervisor(options)
    await plane.ads.start(plane.socket)
    await plane.envoy.start()
    try:
        await plane.up()
        yield plane
    except BaseException:
        print((directory / "envoy.log").read_text()[-4000:])  # noqa: T201 (for the report of a failure)
        raise
    finally:
        await plane.envoy.stop()
        await plane.ads.stop()
        shutil.rmtree(directory)


@contextlib.asynccontextmanager
async def backend() -> AsyncIterator[int]:
    """An HTTP/1.1 server that returns the request, echoes WebSockets, and waits on request."""

    async def tell(request: web.Request) -> web.StreamResponse:
        if request.path == "/silent":
            await asyncio.sleep(60)
        return web.json_response({"path": request.path, "headers": dict(request.headers)})

    async def echo(request: web.Request) -> web.StreamResponse:
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        async for message in opened:
            await opened.send_str(message.data)
        return opened

    app = web.Application()
    app.router.add_get("/echo", echo)
    app.router.add_route("*", "/{path:.*}", tell)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def trusting(*alpn: str) -> ssl.SSLContext:
    """A client's context that believes the test authority, whatever the name."""
    context = ssl.create_default_context(cadata=authority().certificate)
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


async def handshake(
    port: int, name: str | None = None, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> str:
    """The fingerprint that a client which asks for `name` is shown; raises OSError."""
    context = context or trusting()
    async with asyncio.timeout(DEADLINE):
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name or "")
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()
    return hashlib.sha256(shown).hexdigest()


async def get(port: int, path: str = "/", host: str = "main.example.com", **kwargs: Any) -> tuple[int, str]:
    """Status and text of a GET over TLS, redirects not followed."""
    connector = aiohttp.TCPConnector(ssl=trusting())
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(
            f"https://127.0.0.1:{port}{path}", headers={"Host": host}, allow_redirects=False, **kwargs
        ) as answer,
    ):
        return answer.status, await answer.text()


async def until(condition: Callable[[], bool]) -> None:
    """Waits for `condition`; fails after the deadline."""

    async def ask() -> bool:
        return condition()

    await until_true(ask)


async def until_true(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + DEADLINE
    while not await condition():
        assert time.monotonic() < end, f"not within {DEADLINE} s"
        await asyncio.sleep(0.01)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _connects(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
