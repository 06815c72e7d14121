"""Envoys of other machines: mutual TLS, each its own load balancers and nothing else, as many as there are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from sqlalchemy import Engine
from typer.testing import CliRunner

from certferry.cli import app
from certferry.core.envoy import LISTENERS, SECRETS
from certferry.elb.server.dataplane.envoy.binary import find_binary
from certferry.elb.server.dataplane.remote.ca import SERVER_NAME, Authority
from certferry.elb.server.dataplane.remote.registry import RemoteEnvoy, RemoteEnvoyRegistry
from certferry.elb.server.dataplane.remote.server import RemoteServer
from certferry.elb.server.dataplane.status import ACCEPTED, SecretStatuses
from certferry.elb.server.dataplane.xds.server import AdsServer
from certferry.elb.server.paths import encryption_key_file, store_file
from certferry.elb.server.store.database import open_database
from certferry.runtime.encryption import EncryptionKeys
from certferry.runtime.latest import Latest
from certferry.runtime.private_ca import Issued
from tests.elb.support.dataplane import DEADLINE, World, free_port, handshake, https, until, until_true

ADDRESSES = {"one": "127.0.0.1", "two": "127.0.0.1"}


def store_in(state: Path) -> tuple[Engine, EncryptionKeys]:
    state.mkdir(exist_ok=True)
    return open_database(store_file(state)), EncryptionKeys.open_or_create(encryption_key_file(state))


class Scene:
    """Two load balancers, one listener each, and a server for remote Envoys."""

    def __init__(self, state: Path) -> None:
        listener = https(0, {})["listeners"]["web"]
        self.ports = {name: free_port() for name in ADDRESSES}
        self.world = World(
            loadbalancers={name: {"vip_address": address} for name, address in ADDRESSES.items()},
            listeners={
                name: listener | {"loadbalancer_id": name, "protocol_port": port, "default_tls_container_ref": name}
                for name, port in self.ports.items()
            },
            certificates={name: {} for name in ADDRESSES},
        )
        self.state = state
        self.publications = Latest(self.world.publication())
        self.ads = AdsServer(self.publications)
        engine, encryption = store_in(state)
        self.register = RemoteEnvoyRegistry(engine)
        self.authority = Authority(engine, encryption)
        self.remote = RemoteServer(self.ads, self.register, self.authority)
        self.port = 0

    def admit(self, name: str, *loadbalancers: str) -> Issued:
        issued = self.authority.client(name, 1)
        self.register.add(
            RemoteEnvoy(
                name=name, fingerprint=issued.fingerprint, loadbalancers=loadbalancers, not_after=issued.not_after
            )
        )
        self.register.take()
        return issued

    def stub(self, issued: Issued | None, authority: bytes | None = None) -> Any:
        own = (issued.key, issued.certificate) if issued else (None, None)
        credentials = grpc.ssl_channel_credentials(authority or self.authority.pem, *own)
        options = [("grpc.ssl_target_name_override", SERVER_NAME)]
        channel = grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options=options)
        return AggregatedDiscoveryServiceStub(channel)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    await made.ads.start(tmp_path / "run" / "xds.sock")
    made.port = await made.remote.start("127.0.0.1:0")
    try:
        yield made
    finally:
        await made.remote.stop()
        await made.ads.stop()


async def test_the_client_certificate_decides_the_resources_of_an_envoy(scene: Scene) -> None:
    issued = scene.admit("first", "one")
    call = scene.stub(issued).DeltaAggregatedResources()
    # it says that it is another one, and asks for what is not its own
    await call.write(_asking(LISTENERS, node="second"))
    assert await _names(call) == {"one"}
    await call.write(_asking(SECRETS, "one/default/0", "two/default/0"))
    assert await _names(call) == {"one/default/0"}
    call.cancel()


async def test_an_unregistered_certificate_is_rejected(scene: Scene, tmp_path: Path) -> None:
    stranger = Authority(*store_in(tmp_path / "else")).client("first", 1)
    unregistered = scene.authority.client("first", 1)
    refused = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED}
    for issued, status in ((None, refused), (stranger, refused), (unregistered, {grpc.StatusCode.PERMISSION_DENIED})):
        call = scene.stub(issued).DeltaAggregatedResources(timeout=DEADLINE)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(_asking(LISTENERS))
        assert await _ended(call)
        assert await call.code() in status
    assert scene.ads.connected() == ()


async def test_a_removed_or_changed_envoy_loses_its_stream(scene: Scene) -> None:
    issued = scene.admit("first", "one", "two")
    call = scene.stub(issued).DeltaAggregatedResources()
    await call.write(_asking(LISTENERS))
    assert await _names(call, 2) == {"one", "two"}
    guest = scene.register.read()[0]
    scene.register.add(
        RemoteEnvoy(name="first", fingerprint=guest.fingerprint, loadbalancers=("two",), not_after=guest.not_after)
    )
    assert await _ended(call)
    call = scene.stub(issued).DeltaAggregatedResources()
    await call.write(_asking(LISTENERS))
    assert await _names(call) == {"two"}
    scene.register.remove("first")
    assert await _ended(call)


async def test_several_envoys_serve_a_load_balancer_and_rotate_together(scene: Scene, tmp_path: Path) -> None:
    places = {"here": "127.0.0.2", "there": "127.0.0.3"}
    with contextlib.ExitStack() as stack:
        for name, address in places.items():
            out = tmp_path / f"{name}.json"
            _cli(
                "envoy",
                "add",
                name,
                "--loadbalancer",
                "one",
                "--elb",
                f"127.0.0.1:{scene.port}",
                "--address",
                address,
                "--out",
                str(out),
                "--state",
                str(tmp_path),
            )
            assert out.stat().st_mode & 0o077 == 0
            stack.enter_context(_envoy(out))
        port = scene.ports["one"]

        async def all_show(fingerprint: str) -> bool:
            with contextlib.suppress(OSError):
                return {await handshake(port, host=address) for address in places.values()} == {fingerprint}
            return False

        await until_true(lambda: all_show(scene.world.fingerprint("one")))
        assert scene.ads.connected() == ("here", "there")
        renewed = scene.world.renew("one")
        scene.publications.set(scene.world.publication())
        await until_true(lambda: all_show(renewed.fingerprint))

        def told() -> Any:
            return SecretStatuses(scene.ads.snapshots.value.resources, scene.ads.reporting())

        await until(lambda: told().of_listener("one")[0].state == ACCEPTED)
        # the control plane goes: they serve on
        await scene.remote.stop()
        assert await all_show(renewed.fingerprint)


def test_commands_add_list_and_remove_remote_envoys(tmp_path: Path) -> None:
    out = tmp_path / "e.json"
    common = ("--state", str(tmp_path))
    added = _cli(
        "envoy",
        "add",
        "edge",
        "--loadbalancer",
        "a",
        "--loadbalancer",
        "b",
        "--elb",
        "elb.example:18000",
        "--out",
        str(out),
        *common,
    )
    assert "envoy -c e.json" in added
    bootstrap = json.loads(out.read_text())
    assert "admin" not in bootstrap
    assert "edge\ta,b\t" in _cli("envoy", "ls", *common)
    first = RemoteEnvoyRegistry(store_in(tmp_path)[0]).read()[0]
    assert first.not_after - datetime.now(UTC) > timedelta(days=360)
    _cli("envoy", "add", "edge", "--loadbalancer", "a", "--elb", "elb.example:18000", "--out", str(out), *common)
    (second,) = RemoteEnvoyRegistry(store_in(tmp_path)[0]).read()
    assert second.fingerprint != first.fingerprint
    assert "Removed edge" in _cli("envoy", "remove", "edge", *common)
    assert _cli("envoy", "ls", *common) == ""
    key = bootstrap["static_resources"]["clusters"][0]["transport_socket"]["typed_config"]["common_tls_context"]
    secret = key["tls_certificates"][0]["private_key"]["inline_string"].splitlines()[1]
    assert secret.encode() not in store_file(tmp_path).read_bytes()


def _asking(kind: str, *names: str, node: str = "") -> Any:
    request = DeltaDiscoveryRequest(type_url=kind, resource_names_subscribe=names)
    request.node.id = node
    return request


async def _names(call: Any, count: int = 1) -> set[str]:
    """The resources of the next `count` responses, which are accepted."""
    names: set[str] = set()
    for _ in range(count):
        response = await asyncio.wait_for(call.read(), DEADLINE)
        names |= {resource.name for resource in response.resources}
        await call.write(DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce))
    return names


async def _ended(call: Any) -> bool:
    """Waits until the server has ended the call."""
    async with asyncio.timeout(DEADLINE):
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await call.read() is not grpc.aio.EOF:
                pass
    return await call.code() is not grpc.StatusCode.OK


@contextlib.contextmanager
def _envoy(bootstrap: Path) -> Iterator[None]:
    """An Envoy as its user would start it."""
    with tempfile.TemporaryDirectory() as place:
        command = [
            str(find_binary()),
            "-c",
            str(bootstrap),
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "-l",
            "error",
        ]
        with subprocess.Popen(command, cwd=place) as process:
            try:
                yield
            finally:
                process.terminate()


def _cli(*arguments: str) -> str:
    ended = CliRunner().invoke(app, list(arguments))
    assert ended.exit_code == 0, (ended.output, ended.exception)
    return ended.output


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
