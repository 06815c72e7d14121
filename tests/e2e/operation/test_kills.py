"""SIGKILL, part by part and all at once: traffic recovers by itself and nothing stored is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeSite
from tests.e2e.support.clients import KeepAlive, Newcomer, Order, WebSocket, running
from tests.e2e.support.objects import CERTIFICATE_IDS
from tests.e2e.support.site import SECRET, Site
from tests.e2e.support.system import PARTS, System, alive
from tests.e2e.support.tls import fingerprint, get
from tests.e2e.support.waiting import until
from tests.support.certs import Pair


@pytest.fixture(autouse=True)
def _running(system: System) -> None:
    """Bring every part up again before each test."""
    if system.process is None or system.process.poll() is not None:
        system.start()
    until(system.answers, "every part answers")


@pytest.mark.parametrize("part", ["controller", "elb", "kube"])
async def test_traffic_continues_while_a_control_plane_program_is_dead(
    part: str, system: System, site: MakeSite
) -> None:
    shop = site(f"killed-{part}")
    first, second = shop.pair(), shop.pair()
    shop.publish(first)
    shop.shows(first)
    order = _order(first, second)
    former = system.pid(part)

    async with running(*_traffic(shop, order)):
        system.kill(part)
        await asyncio.to_thread(system.revived, part, former)
        await asyncio.to_thread(_eventually, lambda: shop.put_secret(second))
        await asyncio.to_thread(shop.shows, second)
    assert get(shop.address, shop.host) == 200


@pytest.mark.parametrize("part", ["controller", "elb"])
def test_a_change_made_while_a_program_is_dead_is_applied_later(part: str, system: System, site: MakeSite) -> None:
    shop = site(f"meanwhile-{part}")
    first, second = shop.pair(), shop.pair()
    shop.publish(first)
    shop.shows(first)
    system.kill(part)
    shop.put_secret(second)
    shop.shows(second)


def test_the_elb_accepts_new_content_while_the_kubernetes_api_is_dead(system: System, site: MakeSite) -> None:
    shop = site("no-kube")
    first, second = shop.pair(), shop.pair()
    identity = shop.post_certificate(first)
    shop.publish(None, {CERTIFICATE_IDS: identity})
    shop.shows(first)
    system.kill("kube")
    shop.put_certificate(identity, second)
    shop.shows(second)


def test_envoy_is_restarted_and_serves_the_same_certificates(system: System, site: MakeSite) -> None:
    shop = site("killed-envoy")
    first = shop.pair()
    shop.publish(first)
    shop.shows(first)
    former = system.pid("envoy")
    system.kill("envoy")
    shop.shows(first)
    assert system.revived("envoy", former)
    until(lambda: get(shop.address, shop.host) == 200, "requests are answered again")
    renewed = shop.pair()
    shop.put_secret(renewed)
    shop.shows(renewed)


async def test_traffic_continues_while_up_restarts(system: System, site: MakeSite) -> None:
    shop = site("killed-up")
    first, second = shop.pair(), shop.pair()
    shop.publish(first)
    shop.shows(first)
    before = _doors(system)
    children = system.endpoints.processes
    order = _order(first, second)

    async with running(*_traffic(shop, order)):
        system.kill("up")
        gone = [pid for name, pid in children.items() if name != "envoy"]
        await asyncio.to_thread(until, lambda: not any(map(alive, gone)), "the children of `up` end with it")
        assert alive(children["envoy"])
        await asyncio.to_thread(system.start)
        await asyncio.to_thread(_eventually, lambda: shop.put_secret(second))
        await asyncio.to_thread(shop.shows, second)

    assert _doors(system) == before


def test_after_a_kill_of_everything_the_same_command_serves_again(system: System, site: MakeSite) -> None:
    shop = site("killed-all")
    first, second = shop.pair(), shop.pair()
    shop.publish(first)
    shop.shows(first)
    stored = shop.post_certificate(shop.pair(), name="kept")
    before = _doors(system)
    # the answer to a write is the promise that is tested: the kill comes right after it
    shop.put_secret(second)
    secret = shop.get("api/v1", "secrets", SECRET)

    system.kill("up", *PARTS)
    system.start()

    shop.shows(second)
    until(lambda: get(shop.address, shop.host) == 200, "requests are answered again")
    assert _doors(system) == before
    assert _found(lambda: shop.get("api/v1", "secrets", SECRET)) == secret
    kept = _found(lambda: shop.elb.want(200, "GET", system.elb_path("certificates", stored)))
    assert kept["certificate"]["name"] == "kept"
    third = shop.pair()
    shop.put_secret(third)
    shop.shows(third)


def test_hanging_programs_do_not_stop_traffic(system: System, site: MakeSite) -> None:
    """A stopped process keeps its sockets open, unlike a dead one."""
    shop = site("frozen")
    first, second = shop.pair(), shop.pair()
    shop.publish(first)
    shop.shows(first)
    frozen = [system.pid(name) for name in ("controller", "elb")]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert get(shop.address, shop.host) == 200
        shop.put_secret(second)
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    shop.shows(second)


def _traffic(shop: Site, order: Order) -> list[Any]:
    held = [KeepAlive(shop.address, shop.host), WebSocket(shop.address, shop.host)]
    return [*held, Newcomer(shop.address, shop.host, order)]


def _order(*pairs: Pair) -> Order:
    order = Order()
    for pair in pairs:
        order.add(fingerprint(pair.certificate))
    return order


def _doors(system: System) -> Any:
    """Return all endpoints without the pids."""
    found = system.endpoints
    return found.elb, found.metrics, found.port_map, Path(found.kubeconfig).read_text()


def _eventually(act: Callable[[], None]) -> None:
    """Call `act` once the API that it needs answers again."""

    def done() -> bool:
        act()
        return True

    until(done, "the API answers again")


def _found(look: Callable[[], Any]) -> Any:
    """Return the result of `look` once the API that it needs answers again."""
    return until(look, "the API answers again")
