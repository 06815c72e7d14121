"""Two hundred rotations by each procedure under held and new connections: no client fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import pytest

from tests.e2e.conftest import MakeSite
from tests.e2e.support.clients import Client, Newcomer, Order, held, running
from tests.e2e.support.objects import CERTIFICATE_IDS, HTTP2
from tests.e2e.support.site import Site
from tests.e2e.support.tls import fingerprint
from tests.support.certs import Pair, authority

CHANGES = 200
ANSWER_WITHIN = 10
"""Seconds for one change to be seen; far more than it takes."""


async def test_by_secret(site: MakeSite) -> None:
    shop = site("many-secrets")
    first = shop.pair()
    shop.publish(first, {HTTP2: "true"})
    await _rotate([shop], first, shop.put_secret)


async def test_by_choosing_another_certificate(site: MakeSite) -> None:
    shop = site("many-choices")
    first = shop.pair()
    used = [shop.post_certificate(first)]
    shop.publish(None, {HTTP2: "true", CERTIFICATE_IDS: used[0]})

    def choose(pair: Pair) -> None:
        # the one before the present one is out of use since the last change was seen
        for old in used[:-1]:
            used.remove(old)
            shop.elb.want(204, "DELETE", shop.system.elb_path("certificates", old))
        used.append(shop.post_certificate(pair))
        shop.annotate(ids=used[-1])

    await _rotate([shop], first, choose)


async def test_by_new_content_on_the_elb(site: MakeSite) -> None:
    sites = [site("content-a"), site("content-b")]
    first = _for_all(sites)
    identity = sites[0].post_certificate(first)
    for each in sites:
        each.publish(None, {HTTP2: "true", CERTIFICATE_IDS: identity})
    await _rotate(sites, first, lambda pair: sites[0].put_certificate(identity, pair))


async def _rotate(sites: list[Site], first: Pair, change: Callable[[Pair], None]) -> None:
    """Rotate and wait for the handshake, `CHANGES` times, under all clients of all `sites`."""
    for shop in sites:
        shop.shows(first)
    orders = [Order() for _ in sites]
    _expect(orders, first)
    everybody: list[Client] = []
    for shop, order in zip(sites, orders, strict=True):
        everybody += [*held(shop.address, shop.host), Newcomer(shop.address, shop.host, order)]
    lookouts = [Newcomer(shop.address, shop.host, order) for shop, order in zip(sites, orders, strict=True)]

    async with running(*everybody):
        for number in range(1, CHANGES + 1):
            pair = _for_all(sites)
            _expect(orders, pair)
            await asyncio.to_thread(change, pair)
            for lookout in lookouts:
                await _seen(lookout, number)


def _for_all(sites: Iterable[Site]) -> Pair:
    return authority().issue(*(shop.host for shop in sites))


def _expect(orders: Iterable[Order], pair: Pair) -> None:
    for order in orders:
        order.add(fingerprint(pair.certificate))


async def _seen(lookout: Newcomer, number: int) -> None:
    """Connect until one connection shows the newest certificate."""
    assert lookout.order is not None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_WITHIN):
            while not lookout.order.newest_seen():
                await lookout.once()
            return
    pytest.fail(f"change {number} was not seen within {ANSWER_WITHIN} s")
