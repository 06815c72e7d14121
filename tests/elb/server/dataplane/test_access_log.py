"""The access log: a line of JSON per request, with the certificate that its connection was shown."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certferry.core.envoy import Options
from certferry.elb.server.dataplane.access_log.secret_history import SecretHistory, SecretInterval
from certferry.elb.server.dataplane.access_log.writer import AccessLog
from tests.elb.support.dataplane import Plane, World, free_port, handshake, https, pool, running, until_true
from tests.elb.support.long_connections import KeepAlive
from tests.elb.support.members import member


@contextlib.asynccontextmanager
async def logged(plane: Plane) -> AsyncIterator[None]:
    """The log's writer, for the time of the block."""
    log = AccessLog(plane.directory, plane.envoy.admin, lambda: plane.ads.acks().intervals(), 1 << 20)
    task = asyncio.create_task(log.follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_each_connection_is_logged_with_its_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr("tests.elb.support.dataplane.Options", lambda: Options(access_log=True))
    async with member() as only:
        written = https(port, {"shop": {"domain": ["shop.example.com"]}}, "shop") | {"pools": pool(only.port)}
        async with running(World(**written)) as plane:
            world, first = plane.world, plane.world.fingerprint("shop")
            await plane.accepted("web/shop.example.com/0", world.digest("shop"))
            async with logged(plane):
                old = await KeepAlive.open(port, "shop.example.com")
                await old.use()
                second = world.renew("shop")
                plane.publish()
                await plane.accepted("web/shop.example.com/0", second.digest)
                await until_true(lambda: _shows(port, second.fingerprint))
                new = await KeepAlive.open(port, "shop.example.com")
                await new.use()
                await old.use()
                default = await KeepAlive.open(port, "else.example.com")
                await default.use()
                await until_true(lambda: _count(plane, 4))
            # another process, which never saw the first one being sent
            await plane.restart_ads()
            async with logged(plane):
                await old.use()
                await new.use()
                await until_true(lambda: _count(plane, 6))
            for connection in (old, new, default):
                await connection.close()
            lines = _lines(plane)
            main = world.fingerprint("main")
            shown = [line["certificate_sha256"] for line in lines]
            assert shown == [first, second.fingerprint, first, main, first, second.fingerprint]
            assert "certificate_sha256_or" not in lines[3]
            one = lines[0]
            assert (one["method"], one["path"], one["host"]) == ("GET", "/", "shop.example.com")
            assert (one["status"], one["listener"], one["pool"]) == (200, "web", "pool")
            assert one["member"] == f"127.0.0.1:{only.port}"
            assert one["tls_version"] == "TLSv1.3"
            assert one["time"].endswith("Z")
            assert (plane.directory / "access.log").stat().st_mode & 0o077 == 0


def test_during_a_change_a_client_may_have_got_either_certificate() -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "seats"
        sittings = SecretHistory(file)
        sittings.add([SecretInterval("s", "old", 10.0, 10.1), SecretInterval("s", "new", 20.0, 20.1)])
        told = {at: sittings.shown("s", at) for at in (9.0, 15.0, 20.05, 21.0)}
        assert told == {9.0: (), 15.0: ("old",), 20.05: ("new", "old"), 21.0: ("new",)}
        assert sittings.shown("t", 15.0) == ()
        file.write_bytes(file.read_bytes() + b'["s","torn')
        again = SecretHistory(file)
        assert {at: again.shown("s", at) for at in told} == told


async def test_a_long_log_is_rotated(tmp_path: Path) -> None:
    class Silent:
        """No server is called."""

    log = AccessLog(tmp_path, Silent(), lambda: (), 1000)  # type: ignore[arg-type]
    task = asyncio.create_task(log.follow())
    try:
        raw = {
            "time": "1970-01-01T00:00:01.500000Z",
            "listener": "web",
            "status": 200,
            "place": "plain",
            "connected_us": 3,
        }
        for number in range(3):
            with (tmp_path / "access.raw").open("ab") as file:
                file.write((msgspec.json.encode(raw) + b"\n") * 20 + b"not JSON\n")
            await until_true(lambda n=number: _lines_in(tmp_path, 21 * (n + 1)))  # type: ignore[misc]
        assert (tmp_path / "access.log.1").exists()
        assert b'"time":"1970-01-01T00:00:01.500000Z"' in (tmp_path / "access.log").read_bytes()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _lines(plane: Plane) -> list[Any]:
    return [msgspec.json.decode(line) for line in (plane.directory / "access.log").read_bytes().splitlines()]


async def _count(plane: Plane, wanted: int) -> bool:
    return (plane.directory / "access.log").exists() and len(_lines(plane)) == wanted


async def _lines_in(directory: Path, wanted: int) -> bool:
    files = [f for f in (directory / "access.log.1", directory / "access.log") if f.exists()]
    total = sum(len(f.read_bytes().splitlines()) for f in files)
    return total == wanted or (total >= 21 and wanted == 63 and (directory / "access.log.1").exists())


async def _shows(port: int, fingerprint: str) -> bool:
    return await handshake(port, "shop.example.com") == fingerprint
