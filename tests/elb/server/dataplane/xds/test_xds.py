"""The xDS server with a real Envoy."""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from certferry.core.envoy.listeners.tls import POLICIES
from tests.elb.support.dataplane import (
    Plane,
    World,
    backend,
    free_port,
    get,
    handshake,
    https,
    pool,
    running,
    until,
    until_true,
)
from tests.support import golden


def _names(*names: str) -> dict[str, dict[str, list[str]]]:
    return {name: {"domain": [f"{name}.example.com"]} for name in names}


async def test_each_name_gets_its_certificate_and_others_the_default() -> None:
    port = free_port()
    certificates = _names("a") | {"wild": {"domain": ["*.example.com"]}}
    async with running(World(**https(port, certificates, "a", "wild"))) as plane:
        shown = {n: await handshake(port, n) for n in ("a.example.com", "b.c.example.com", "else.where")}
        assert shown == {
            "a.example.com": plane.world.fingerprint("a"),
            "b.c.example.com": plane.world.fingerprint("wild"),
            "else.where": plane.world.fingerprint("main"),
        }
        assert await handshake(port) == plane.world.fingerprint("main")


async def test_other_names_are_served_if_the_default_certificate_is_unusable() -> None:
    port = free_port()
    written = https(port, _names("a"), "a") | {}
    written["certificates"]["main"] = {"key": None}
    async with running(World(**written)) as plane:
        assert await handshake(port, "a.example.com") == plane.world.fingerprint("a")
        with pytest.raises(OSError):
            await handshake(port, "else.where")


async def test_a_secret_that_envoy_rejects_affects_no_other() -> None:
    port = free_port()
    many = _names(*(f"n{number}" for number in range(12)))
    async with running(World(**https(port, many, *many))) as plane:
        world = plane.world
        good_before = world.pairs["n5"]
        for name in many:
            if name != "n5":
                world.renew(name)
        torn = msgspec.structs.replace(good_before.chain, pem=good_before.chain.pem[:300], digest="torn")
        world.put("n5", torn, good_before.key)
        plane.publish()
        for name in many:
            if name != "n5":
                await plane.accepted(f"web/{name}.example.com/0", world.digest(name))
                assert await handshake(port, f"{name}.example.com") == world.fingerprint(name)
        await until(lambda: bool(plane.ads.status()["web/n5.example.com/0"].error))
        bad = plane.ads.status()["web/n5.example.com/0"]
        assert "certificate chain" in bad.error
        assert (bad.digest, bad.accepted) == ("torn", good_before.chain.digest)
        assert await handshake(port, "n5.example.com") == good_before.chain.fingerprint
        world.renew("n5")
        plane.publish()
        await plane.accepted("web/n5.example.com/0", world.digest("n5"))
        assert plane.ads.status()["web/n5.example.com/0"].error == ""
        assert await handshake(port, "n5.example.com") == world.fingerprint("n5")


async def test_a_secret_without_its_key_is_not_sent_and_the_old_one_serves() -> None:
    port = free_port()
    async with running(World(**https(port, _names("a", "b"), "a", "b"))) as plane:
        world, old = plane.world, plane.world.fingerprint("a")
        world.renew("a")
        world.withheld.add("a")
        stranger = world.pairs["b"].key
        plane.publish()
        await until(lambda: "not at hand" in plane.ads.status()["web/a.example.com/0"].error)
        chain = world.renew("a")
        world.withheld.clear()
        key = world.pairs["a"].key
        world.put("a", chain, stranger)
        plane.publish()
        await until(lambda: "does not belong" in plane.ads.status()["web/a.example.com/0"].error)
        assert await handshake(port, "a.example.com") == old
        world.put("a", chain, key)
        plane.publish()
        await plane.accepted("web/a.example.com/0", chain.digest)
        assert await handshake(port, "a.example.com") == chain.fingerprint


async def test_a_slot_without_a_key_delays_no_other() -> None:
    port = free_port()
    world = World(**https(port, _names("a", "b"), "a", "b"))
    world.withheld.add("a")
    async with asyncio.timeout(8), running(world):
        assert await handshake(port, "b.example.com") == world.fingerprint("b")
        with pytest.raises(OSError):
            await handshake(port, "a.example.com")


async def test_a_restarted_control_plane_sends_nothing_again() -> None:
    port = free_port()
    many = _names(*(f"n{number}" for number in range(5)))
    async with backend() as member, running(World(**https(port, many, *many), pools=pool(member))) as plane:
        await until_true(lambda: _answers(port, 200))
        before = await plane.counters(_UPDATES)
        assert before["listener_manager.lds.update_success"] == 1
        refused = await _connect_failures(plane)

        await plane.ads.stop()
        await until_true(lambda: _answers(port, 200))
        await until_true(lambda: _failed_more(plane, refused))
        changed = plane.world.renew("n1")
        plane.publish()
        await plane.restart_ads()
        await plane.accepted("web/n1.example.com/0", changed.digest)
        assert await handshake(port, "n1.example.com") == changed.fingerprint

        after = await plane.counters(_UPDATES)
        assert {k: v for k, v in after.items() if before[k] != v} == {
            "sds.web/n1.example.com/0.update_success": before["sds.web/n1.example.com/0.update_success"] + 1
        }


async def test_a_nack_is_known_after_a_control_plane_restart() -> None:
    port = free_port()
    async with running(World(**https(port, _names("a"), "a"))) as plane:
        good = plane.world.pairs["a"]
        await plane.accepted("web/a.example.com/0", good.chain.digest)
        plane.world.put("a", msgspec.structs.replace(good.chain, pem="nonsense", digest="torn"), good.key)
        plane.publish()
        await until(lambda: bool(plane.ads.status()["web/a.example.com/0"].error))
        await plane.restart_ads()
        await until(lambda: bool((s := plane.ads.status().get("web/a.example.com/0")) and s.error))
        status = plane.ads.status()["web/a.example.com/0"]
        assert (status.digest, status.accepted) == ("torn", good.chain.digest)


@pytest.mark.parametrize("ends", ["Envoy", "both"])
@pytest.mark.parametrize("problem", ["rejected", "key missing"])
async def test_an_envoy_that_restarts_gets_the_content_before_a_rejected_one(ends: str, problem: str) -> None:
    port = free_port()
    many = _names(*(f"n{number}" for number in range(4)))
    async with running(World(**https(port, many, *many))) as plane:
        world, slot = plane.world, "web/n1.example.com/0"
        good = world.pairs["n1"]
        await plane.accepted(slot, good.chain.digest)
        if problem == "rejected":
            world.put("n1", msgspec.structs.replace(good.chain, pem="nonsense", digest="torn"), good.key)
        else:
            world.renew("n1")
            world.withheld.add("n1")
        plane.publish()
        await until(lambda: bool(plane.ads.status()[slot].error))
        for _ in range(2):
            if ends == "both":
                await plane.ads.stop()
            await plane.envoy.stop()
            if ends == "both":
                await plane.restart_ads()
            plane.envoy = plane.supervisor()
            await plane.envoy.start()
            await plane.up()
            for name in many:
                assert await handshake(port, f"{name}.example.com") == world.fingerprint(name) or name == "n1"
            assert await handshake(port, "n1.example.com") == good.chain.fingerprint
            await until(lambda: bool((s := plane.ads.status().get(slot)) and s.error and s.digest != s.accepted))
            assert plane.ads.status()[slot].accepted == good.chain.digest
            assert await handshake(port, "n1.example.com") == good.chain.fingerprint
        world.withheld.clear()
        renewed = world.renew("n1")
        plane.publish()
        await plane.accepted(slot, renewed.digest)
        assert await handshake(port, "n1.example.com") == renewed.fingerprint
        assert "n1" not in (plane.directory / "rejections.json").read_text()


async def test_a_fallback_that_envoy_rejects_too_is_not_sent_again() -> None:
    port = free_port()
    async with running(World(**https(port, _names("a", "b"), "a", "b"))) as plane:
        world, slot = plane.world, "web/a.example.com/0"
        good = world.pairs["a"]
        await plane.accepted(slot, good.chain.digest)
        world.put("a", msgspec.structs.replace(good.chain, pem="nonsense", digest="torn"), good.key)
        plane.publish()
        await until(lambda: bool(plane.ads.status()[slot].error))
        await plane.ads.stop()
        await plane.envoy.stop()
        broken = msgspec.structs.replace(good.chain, pem="nonsense too", digest=good.chain.digest)
        world.contents[good.chain.digest] = (broken, good.key)
        await plane.restart_ads()
        plane.envoy = plane.supervisor()
        await plane.envoy.start()
        await plane.up()
        await until(lambda: bool((s := plane.ads.status().get(slot)) and s.error and s.digest == "torn"))
        assert await handshake(port, "b.example.com") == world.fingerprint("b")
        renewed = world.renew("a")
        plane.publish()
        await plane.accepted(slot, renewed.digest)
        assert await handshake(port, "a.example.com") == renewed.fingerprint


async def test_resources_removed_during_downtime_are_removed_after_a_restart() -> None:
    port, other = free_port(), free_port()
    written = https(port, {})
    written["listeners"]["second"] = written["listeners"]["web"] | {"protocol_port": other}
    async with running(World(**written)) as plane:
        await plane.ads.stop()
        plane.world.drop("listeners", "second")
        plane.publish()
        await plane.restart_ads()
        await until_true(lambda: _closed(other))
        assert await handshake(port) == plane.world.fingerprint("main")


async def test_a_listener_that_cannot_be_built_keeps_its_last_version_and_others_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port, other = free_port(), free_port()
    written = https(port, _names("odd"))
    written["listeners"]["odd"] = written["listeners"]["web"] | {
        "protocol_port": other,
        "default_tls_container_ref": "odd",
    }
    module = importlib.import_module("certferry.core.envoy.snapshot")
    build = module.route_table

    def failing(listener_id: str, *arguments: Any) -> Any:
        if listener_id == "odd":
            raise OverflowError
        return build(listener_id, *arguments)

    async with running(World(**written)) as plane:
        monkeypatch.setattr(module, "route_table", failing)
        plane.world.change("listeners", "odd", http2_enable=False)
        new = plane.world.renew("main")
        plane.publish()
        await plane.accepted("web/default/0", new.digest)
        assert await handshake(port) == new.fingerprint
        assert await handshake(other) == plane.world.fingerprint("odd")
        assert plane.ads.skipped == {"odd": "OverflowError"}
        monkeypatch.undo()
        plane.publish()
        assert plane.ads.skipped == {}


async def test_an_occupied_port_is_reported_and_other_listeners_serve() -> None:
    port, taken = free_port(), free_port()
    with socket.create_server(("127.0.0.1", taken)):
        written = https(port, {})
        written["listeners"]["second"] = written["listeners"]["web"] | {"protocol_port": taken}
        async with running(World(**written)) as plane:
            await until(lambda: bool(plane.ads.refusals()))
            ((_, name), why) = next(iter(plane.ads.refusals().items()))
            assert name == "second"
            assert "in use" in why
            assert await handshake(port) == plane.world.fingerprint("main")


@pytest.mark.parametrize("path", golden.cases("envoy"))
async def test_envoy_accepts_every_golden_state(path: Path) -> None:
    written = _read(path)
    for listener in written.get("listeners", {}).values():
        listener["protocol_port"] = free_port()
    for loadbalancer in written.get("loadbalancers", {}).values():
        loadbalancer.pop("privileged_shift", None)
        loadbalancer.pop("port_shift", None)
    # an Envoy that takes everything up to and with a marker has taken everything
    written.setdefault("certificates", {})["marker"] = {}
    marker = free_port()
    written.setdefault("listeners", {})["zz-marker"] = https(marker, {})["listeners"]["web"] | {
        "default_tls_container_ref": "marker"
    }
    world = World(**written)
    ports = {n: listener.protocol_port for n, listener in world.state.listeners.items()}
    for name in [n for n in ports if n in _UNSERVED]:
        world.drop("listeners", name)
    async with running(world) as plane:
        assert await handshake(marker) == world.fingerprint("marker")
        assert plane.ads.refusals() == {}
        assert [s for s in plane.ads.status().values() if s.error] == []


_UNSERVED = {"nothing", "noca", "other", "noaddress", "down"}


async def test_envoy_accepts_every_tls_policy() -> None:
    listeners, ports = {}, {}
    for name in POLICIES:
        ports[name] = free_port()
        listeners[name] = https(ports[name], {}, tls_ciphers_policy=name)["listeners"]["web"]
    async with running(World(listeners=listeners, certificates={"main": {}})) as plane:
        assert plane.ads.refusals() == {}
        for port in ports.values():
            assert await handshake(port) == plane.world.fingerprint("main")


async def test_other_users_get_no_answer_from_xds_or_admin() -> None:
    port = free_port()
    async with running(World(**https(port, {}))) as plane:
        run = plane.directory / "run"
        sockets = [plane.socket, run / "admin.sock"]
        assert run.stat().st_mode & 0o777 == 0o700
        assert all(path.is_socket() and path.stat().st_mode & 0o077 == 0 for path in sockets)
        if os.getuid() == 0:
            assert [_connects_as_nobody(path) for path in sockets] == [False, False]
            plane.directory.chmod(0o755)  # even where only the directories' modes stand in the way
            assert [_connects_as_nobody(path) for path in sockets] == [False, False]


async def test_no_key_is_in_the_snapshot_the_status_or_the_log() -> None:
    port = free_port()
    async with running(World(**https(port, _names("a"), "a"))) as plane:
        torn = msgspec.structs.replace(plane.world.pairs["a"].chain, pem="nonsense", digest="torn")
        key = plane.world.pairs["a"].key
        plane.world.put("a", torn, key)
        plane.publish()
        await until(lambda: bool(plane.ads.status()["web/a.example.com/0"].error))
        told = f"{plane.ads.status()}{plane.ads.refusals()}{plane.publications.value}"
        told += (plane.directory / "envoy.log").read_text() + (plane.directory / "envoy.json").read_text()
        secrets = [line for line in key.reveal().splitlines() if not line.startswith("-")]
        assert secrets
        assert not [line for line in secrets if line in told]


_UPDATES = (
    "(^sds.*|listener_manager.lds|cluster_manager.cds|cluster.pool|rds.*)"
    r"\.(update_success|update_rejected|config_reload)$"
)


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


async def _answers(port: int, status: int) -> bool:
    return (await get(port))[0] == status


async def _connect_failures(plane: Plane) -> int:
    counters = await plane.counters("cluster.xds.upstream_cx_connect_fail")
    return counters["cluster.xds.upstream_cx_connect_fail"]


async def _failed_more(plane: Plane, before: int) -> bool:
    return await _connect_failures(plane) > before


async def _closed(port: int) -> bool:
    try:
        await handshake(port)
    except OSError:
        return True
    return False


def _connects_as_nobody(path: Path) -> bool:
    """Return whether a process of another user can connect to a Unix socket."""
    ended = subprocess.run([sys.executable, "-c", _AS_NOBODY, str(path)], check=False)
    assert ended.returncode in (0, 1)
    return ended.returncode == 0


_AS_NOBODY = """
import os, socket, sys
client = socket.socket(socket.AF_UNIX)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    client.connect(sys.argv[1])
except PermissionError:
    os._exit(1)
os._exit(0)
"""
