"""A restart of the ELB, unchanged: Envoy goes on, and hears nothing that it does not know."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certferry.core.pem import parse_chain
from certferry.elb.plane.admin import Admin
from certferry.elb.plane.envoy import Record
from certferry.elb.plane.rundir import run_directory
from certferry.settings import ElbSettings, EnvoyOptions
from tests.certs import authority
from tests.elb.api.server import Elb, send, serving, settings_in
from tests.elb.held import KeepAlive
from tests.elb.members import member
from tests.elb.plane import free_port, handshake, until_true

CONNECTIONS = 100
COUNTERS = r"(update_success|update_rejected|config_reload|listener_.*(added|modified|updated|removed)|cluster_(added|modified|removed))$"


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[ElbSettings]:
    options = EnvoyOptions(concurrency=1, drain_seconds=1, at_end="leave")
    yield settings_in(tmp_path, envoy=True, envoy_options=options, vip_shared_address="127.0.0.1")
    record = msgspec.json.decode((tmp_path / "elb" / "envoy.json").read_bytes(), type=Record)
    record.process.signal(signal.SIGKILL)


async def test_a_restart_closes_none_of_a_hundred_connections_and_updates_nothing(
    settings: ElbSettings,
) -> None:
    port = free_port()
    admin = Admin(str(run_directory(settings.state) / "admin.sock"))
    async with member() as only:
        with serving(settings) as elb:
            await asyncio.to_thread(_fill, elb, port, only.port)
            await until_true(lambda: _answers(port))
            connections = [await KeepAlive.open(port, "shop.example.com") for _ in range(CONNECTIONS)]
            for connection in connections:
                await connection.use()
            before = await _counters(admin)
            assert before
        for connection in connections:
            await connection.use()  # nobody is there to look after Envoy
        with serving(settings) as elb:

            async def connected() -> bool:
                reply = await asyncio.to_thread(send, elb.origin, "GET", "/healthz")
                return bool(reply.body["connected"])

            await until_true(connected)
            chain = await asyncio.to_thread(_renew, elb)
            await until_true(lambda: _shows(port, chain))
            for connection in connections:
                await connection.use()
            after = await _counters(admin)
            # one certificate was changed, and that is all that Envoy heard of
            raised = {
                name: value - before.get(name, 0)
                for name, value in after.items()
                if value != before.get(name)
            }
            assert list(raised.values()) == [1], raised
            assert next(iter(raised)).startswith("sds.")
        for connection in connections:
            await connection.close()


def _fill(elb: Elb, port: int, member_port: int) -> None:
    api = elb.admin
    lb = api.make("loadbalancer")
    shift = lb["certferry"]["port_shift"]
    pool = api.make("pool", loadbalancer_id=lb["id"], protocol="HTTP", lb_algorithm="ROUND_ROBIN")
    api.make("member", f"/pools/{pool['id']}/members", address="127.0.0.1", protocol_port=member_port)
    certificates = [api.make("certificate", **_content(name))["id"] for name in ("main", "shop", "other")]
    api.make(
        "listener",
        loadbalancer_id=lb["id"],
        protocol="HTTPS",
        protocol_port=port - shift,
        default_tls_container_ref=certificates[0],
        sni_container_refs=certificates[1:],
        default_pool_id=pool["id"],
    )


def _content(name: str) -> dict[str, Any]:
    host = f"{name}.example.com"
    pair = authority().issue(host)
    return {"name": name, "certificate": pair.certificate, "private_key": pair.key, "domain": host}


def _renew(elb: Elb) -> str:
    """New content for ``other``; its fingerprint."""
    (found,) = elb.admin("GET", "/certificates", query="name=other").body["certificates"]
    pair = {k: v for k, v in _content("other").items() if k in ("certificate", "private_key")}
    reply = elb.admin("PUT", f"/certificates/{found['id']}", {"certificate": pair})
    assert reply.status == 200, reply.body
    return parse_chain(pair["certificate"]).fingerprint


async def _counters(admin: Admin) -> dict[str, int]:
    text = await admin.ask(f"/stats?filter={COUNTERS}")
    rows = (row.rpartition(": ") for row in text.splitlines())
    return {name: int(value) for name, _, value in rows if value.isdigit()}


async def _shows(port: int, fingerprint: str) -> bool:
    return await handshake(port, "other.example.com") == fingerprint


async def _answers(port: int) -> bool:
    try:
        connection = await KeepAlive.open(port, "shop.example.com")
        await connection.use()
        await connection.close()
    except (OSError, AssertionError, asyncio.IncompleteReadError):
        return False
    return True
