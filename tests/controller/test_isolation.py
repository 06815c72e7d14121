"""One odd object never ends, stalls or changes the result for another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.controller.conftest import System
from tests.controller.support.fake_kube import until
from tests.support.certs import Pair, authority

LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""No well-defined expiration date (RFC 5280 4.1.2.5)."""

ODD = {
    "no end": lambda: authority().issue("odd.example.com", until=LAST),
    "a year before the end of the calendar": lambda: authority().issue(
        "odd.example.com", until=LAST - timedelta(days=365)
    ),
}


def content(system: System, name: str) -> str:
    """Return the PEM that the ELB has for a shop, "" if it has none."""
    made = [c for c in system.elb.made("certificates") if f"_{name}-tls_" in c["name"]]
    return str(made[0]["certificate"]) if made else ""


@pytest.mark.parametrize("odd", ODD)
async def test_others_rotate_beside_an_odd_certificate(system: System, odd: str) -> None:
    pair: Pair = ODD[odd]()
    system.shop(pair, name="odd")
    system.shop(authority().issue("shop.example.com"))
    await system.start()
    await system.in_step()
    assert content(system, "odd")
    before = content(system, "shop")
    system.kube.secret("demo", "shop-tls", authority().issue("shop.example.com"))
    await until(lambda: content(system, "shop") != before)
    await until(lambda: system.kube.objects["ingresses", "demo", "odd"].get("status"))
    assert system.controller is not None
