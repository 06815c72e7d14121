"""A restart of the ELB, unchanged: Envoy goes on, and hears nothing that it does not know."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certferry.core.x509.pem import parse_chain
from certferry.elb.server.dataplane.envoy.admin import Admin
from certferry.elb.server.dataplane.envoy.run_directory import run_directory
from certferry.elb.server.dataplane.envoy.supervisor import Record
from tests.elb.server.store.program import elb_program
from tests.elb.support.dataplane import free_port, handshake, until_true
from tests.elb.support.long_connections import KeepAlive
from tests.elb.support.members import member
from tests.elb.support.server import Api, send
from tests.support.certs import authority

CONNECTIONS = 100
COUNTERS = r"(update_success|update_rejected|config_reload|listener_.*(added|modified|updated|removed)|cluster_(added|modified|removed))$"


ENVIRONMENT = {
    "CERTFERRY_ELB_ENVOY": "true",
    "CERTFERRY_ELB_ENVOY_OPTIONS": '{"concurrency":1,"drain_seconds":1}',
    "CERTFERRY_ELB_VIP_SHARED_ADDRESS": "127.0.0.1",
}


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for left in tmp_path.glob("**/envoy.json"):  # a test that failed half-way leaves it
        msgspec.json.decode(left.read_bytes(), type=Record).process.signal(signal.SIGKILL)


async def test_a_restart_closes_none_of_a_hundred_connections_and_updates_nothing(directory: Path) -> None:
    port = free_port()
    async with member() as only:
        with elb_program(directory, signal.SIGTERM, **ENVIRONMENT) as elb:
            admin = Admin(str(run_directory(elb.state) / "admin.sock"))
            await asyncio.to_thread(_fill, elb.api, port, only.port)
            await until_true(lambda: _answers(port))
            connections = [await KeepAlive.open(port, "shop.example.com") for _ in range(CONNECTIONS)]
            for connection in connections:
                await connection.use()
            before = await _counters(admin)
            assert before
        for connection in connections:
            await connection.use()  # no supervisor runs
        with elb_program(directory, signal.SIGINT, **ENVIRONMENT) as elb:

            async def connected() -> bool:
                reply = await asyncio.to_thread(send, elb.api.origin, "GET", "/healthz")
                return bool(reply.body["connected"])

            await until_true(connected)
            chain = await asyncio.to_thread(_renew, elb.api)
            await until_true(lambda: _shows(port, chain))
            for connection in connections:
                await connection.use()
            after = await _counters(admin)
            # one certificate was changed, and that is all that Envoy heard of
            raised = {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name)}
            assert list(raised.values()) == [1], raised
            assert next(iter(raised)).startswith("sds.")
            assert alive(elb.state)
        assert not alive(elb.state), "Ctrl+C ends Envoy too"
        for connection in connections:
            await connection.close()


def alive(state: Path) -> bool:
    record = state / "envoy.json"
    return record.exists() and msgspec.json.decode(record.read_bytes(), type=Record).process.alive()


def _fill(api: Api, port: int, member_port: int) -> None:
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


def _renew(api: Api) -> str:
    """New content for ``other``; its fingerprint."""
    (found,) = api("GET", "/certificates", query="name=other").body["certificates"]
    pair = {k: v for k, v in _content("other").items() if k in ("certificate", "private_key")}
    reply = api("PUT", f"/certificates/{found['id']}", {"certificate": pair})
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
