"""Client of our ELB's issuers and orders. Their secrets are in none of the answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec

from certferry.elb.client.client import ElbClient
from certferry.elb.client.extensions import available, part
from certferry.settings import UserError

ORDERS: Final = "orders"
"""The name of this extension, and its path."""


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """A CA and the account there."""

    id: str
    name: str
    directory: str
    email: str = ""
    profile: str = ""
    key_type: str = ""
    challenge: str = ""
    eab_kid: str = ""
    account: str = ""
    """URL of the account; empty until the first order."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A standing order for a certificate."""

    id: str
    names: tuple[str, ...]
    issuer: str
    certificate_id: str | None = None
    challenge: str = ""
    state: str
    """waiting, placed, presented, validating, finalizing, issued or failed."""
    next_at: datetime | None = None
    """The next attempt, or the begin of the present one."""
    reason: str = ""
    """Why then."""
    failures: int = 0
    error: str = ""
    """The CA's words on the last failure."""


async def issuers(elb: ElbClient) -> list[Issuer]:
    """Return the issuers, oldest first."""
    await _check(elb)
    return part(await elb.extension("GET", "issuers"), "issuers", list[Issuer])


async def add_issuer(elb: ElbClient, fields: dict[str, Any]) -> Issuer:
    """Add an issuer with the API's `fields`. For admins."""
    await _check(elb)
    return part(await elb.extension("POST", "issuers", body=msgspec.json.encode(fields)), "issuer", Issuer)


async def remove_issuer(elb: ElbClient, issuer_id: str) -> None:
    """Remove an issuer without orders. For admins."""
    await elb.extension("DELETE", f"issuers/{quote(issuer_id, safe='')}")


async def orders(elb: ElbClient) -> list[Order]:
    """Return the orders, oldest first."""
    await _check(elb)
    return part(await elb.extension("GET", ORDERS), "orders", list[Order])


async def order(elb: ElbClient, order_id: str) -> Order:
    """Return an order."""
    return part(await elb.extension("GET", _of(order_id)), "order", Order)


async def place_order(elb: ElbClient, fields: dict[str, Any]) -> Order:
    """Order a certificate with the API's `fields`. ``ElbError`` 409 if its challenge cannot work."""
    await _check(elb)
    return part(await elb.extension("POST", ORDERS, body=msgspec.json.encode(fields)), "order", Order)


async def renew(elb: ElbClient, order_id: str) -> Order:
    """Begin a renewal now."""
    return part(await elb.extension("POST", f"{_of(order_id)}/renew"), "order", Order)


async def remove_order(elb: ElbClient, order_id: str) -> None:
    """Remove an order; its certificate stays."""
    await elb.extension("DELETE", _of(order_id))


def _of(order_id: str) -> str:
    return f"{ORDERS}/{quote(order_id, safe='')}"


async def _check(elb: ElbClient) -> None:
    """Raise UserError if the ELB issues no certificates."""
    if ORDERS not in await available(elb):
        raise UserError("This ELB issues no certificates: it is a vendor's, or of an older Certferry.")
