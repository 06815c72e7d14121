"""``certferry cert issue``, ``renew``, ``orders``, ``cancel``: certificates that the ELB orders from a CA."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from certferry.cli.cert.lookup import Cluster, run
from certferry.cli.options import Config, State, one_cluster
from certferry.cli.output import BAD, Format, Output, ago, instant, show, warn
from certferry.elb.client import issuance
from certferry.elb.client.client import ElbClient
from certferry.elb.client.issuance import Order
from certferry.settings import UserError

COLUMNS: Final = {"names": "HOSTS", "issuer": "ISSUER", "status": "STATUS", "when": "NEXT", "why": "WHY"}
WIDE: Final = {"next_at": "NEXT AT", "challenge": "CHALLENGE", "certificate_id": "CERTIFICATE", "id": "ID"}
_PAUSE: Final = 0.5
Which = Annotated[str, typer.Argument(help="A host of the order, or the id of the order or its certificate.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the certificate.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait.")]


def issue(
    names: Annotated[list[str], typer.Argument(help="The hosts; *.HOST needs dns-01.")],
    issuer: Annotated[str, typer.Option(help="Name of the issuer (certferry issuer ls).")],
    certificate: Annotated[
        str, typer.Option(help="Id of an ELB certificate that receives the content. Default: a new one.")
    ] = "",
    challenge: Annotated[str | None, typer.Option(help="http-01 or dns-01. Default: the issuer's.")] = None,
    key_type: Annotated[str | None, typer.Option(help="Kind of key, like RSA-2048. Default: the issuer's.")] = None,
    profile: Annotated[str | None, typer.Option(help="Profile of the CA. Default: the issuer's.")] = None,
    wait: Wait = True,
    timeout: Timeout = 300,
    cluster: Cluster = None,
    config: Config = None,
    state: State = None,
) -> None:
    """Order a certificate from a CA. The ELB renews it until the order is cancelled."""
    given = {"certificate_id": certificate or None, "challenge": challenge, "key_type": key_type, "profile": profile}
    fields: dict[str, Any] = {name: value for name, value in given.items() if value is not None}

    async def work() -> int:
        async with one_cluster(config, state, cluster).elb() as elb:
            placed = await issuance.place_order(elb, {"names": names, "issuer": issuer, **fields})
            return await _followed(elb, placed, timeout if wait else 0)

    run(work)


def renew(
    which: Which,
    wait: Wait = True,
    timeout: Timeout = 300,
    cluster: Cluster = None,
    config: Config = None,
    state: State = None,
) -> None:
    """Renew an ordered certificate now, with a new key."""

    async def work() -> int:
        async with one_cluster(config, state, cluster).elb() as elb:
            begun = await issuance.renew(elb, (await _one(elb, which)).id)
            return await _followed(elb, begun, timeout if wait else 0)

    run(work)


def orders(cluster: Cluster = None, output: Output = Format.table, config: Config = None, state: State = None) -> None:
    """List orders with their state and next renewal."""

    async def work() -> int:
        async with one_cluster(config, state, cluster).elb(short=True) as elb:
            rows = [_row(order, output) for order in await issuance.orders(elb)]
        show(rows, COLUMNS, output, WIDE)
        return BAD if any(row["status"] == "failed" for row in rows) else 0

    run(work)


def cancel(which: Which, cluster: Cluster = None, config: Config = None, state: State = None) -> None:
    """End an order. Its certificate stays in service and is not renewed any more."""

    async def work() -> int:
        async with one_cluster(config, state, cluster).elb(short=True) as elb:
            order = await _one(elb, which)
            await issuance.remove_order(elb, order.id)
        typer.echo(f"Order for {', '.join(order.names)} cancelled.")
        return 0

    run(work)


async def _followed(elb: ElbClient, begun: Order, seconds: float) -> int:
    """Wait for the end of an attempt, and report it."""
    order, error, end = begun, begun.error, time.monotonic() + seconds
    # The reason changes with the end of the attempt.
    while order.reason == begun.reason and time.monotonic() < end:
        await asyncio.sleep(_PAUSE)
        order = await issuance.order(elb, begun.id)
        if order.error not in ("", error):
            warn(order.error)
            error = order.error
    names = ", ".join(order.names)
    at = f"{instant(order.next_at)} ({order.reason})" if order.next_at else "unknown"
    if order.reason == begun.reason:
        typer.echo(f"Order for {names}: {order.state}. See `certferry cert orders`.")
        return BAD if seconds else 0
    if order.failures:
        typer.echo(f"Order for {names} failed. Next attempt: {at}.")
        return BAD
    typer.echo(f"Certificate {order.certificate_id} issued for {names}. Next renewal: {at}.")
    return 0


async def _one(elb: ElbClient, word: str) -> Order:
    every = await issuance.orders(elb)
    matching = [o for o in every if word in (o.id, o.certificate_id)] or [o for o in every if word.lower() in o.names]
    if len(matching) != 1:
        what = f"{len(matching)} orders have" if matching else "No order has"
        raise UserError(f"{what} “{word}”: give an id (certferry cert orders -o wide).")
    return matching[0]


def _row(order: Order, output: Format) -> dict[str, Any]:
    row = {field: getattr(order, field) for field in order.__struct_fields__}
    if not output.for_people:
        return row | {"status": order.state}
    why = order.error or order.reason
    when = ago(order.next_at, datetime.now(UTC)) if order.next_at else ""
    at = instant(order.next_at) if order.next_at else ""
    return row | {"names": ", ".join(order.names), "status": order.state, "when": when, "why": why, "next_at": at}
