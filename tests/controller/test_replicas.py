"""Two controllers, one Lease: who writes when one is killed, or stopped in the middle and resumed."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from certferry.core.x509.pem import parse_chain
from tests.controller.conftest import System
from tests.controller.support.fake_kube import until
from tests.controller.support.replicas import Replica
from tests.support.certs import Pair, authority

pytestmark = pytest.mark.process


async def served(system: System, pair: Pair) -> None:
    fingerprint = parse_chain(pair.certificate).fingerprint
    await until(lambda: fingerprint in system.annotation("certferry.io/rotation"), seconds=15)


def shop() -> Pair:
    return authority().issue("shop.example.com")


async def test_a_leader_stopped_in_the_middle_of_a_plan_writes_nothing_more(system: System, tmp_path: Path) -> None:
    system.shop(shop())
    system.elb.held = asyncio.Event()
    async with Replica(system, "A", tmp_path) as first, Replica(system, "B", tmp_path) as second:
        # its first write hangs at the ELB; there it is stopped
        await until(lambda: system.elb.writers, seconds=15)
        leader, other = (first, second) if first.leads else (second, first)
        assert system.elb.writers == [leader.name]
        leader.signal(signal.SIGSTOP)
        system.elb.held.set()
        await until(lambda: other.leads, seconds=15)
        await until(lambda: system.elb.made("listeners"), seconds=15)
        wrote = leader.wrote()
        leader.signal(signal.SIGCONT)
        seen = system.kube.count("GET", "/leases/")
        await until(lambda: system.kube.count("GET", "/leases/") > seen + 10)
        new = shop()
        system.kube.secret("demo", "shop-tls", new)
        await served(system, new)
        assert leader.wrote() == wrote
        assert len(system.elb.made("certificates")) == len(system.elb.made("listeners")) == 1
        assert parse_chain(system.our_certificate()["certificate"]).fingerprint


async def test_a_killed_leader_is_replaced_within_its_lease(system: System, tmp_path: Path) -> None:
    system.shop(shop())
    async with Replica(system, "A", tmp_path) as first, Replica(system, "B", tmp_path) as second:
        await until(lambda: system.annotation("certferry.io/rotation"), seconds=15)
        leader, other = (first, second) if first.leads else (second, first)
        writes = len(system.elb.writes)
        leader.signal(signal.SIGKILL)
        new = shop()
        system.kube.secret("demo", "shop-tls", new)
        await served(system, new)
        assert system.elb.writers[writes:] == [other.name]
