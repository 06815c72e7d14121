"""``certferry cert ls``, ``show``, ``where``, ``expiring``: which certificates there are, where, and their status."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from certferry.cli.cert.lookup import Cluster, FleetSnapshot, LocatedCertificate, Reference, read_fleet, run
from certferry.cli.cert.rows import Sort, inventory, late, order, places, selected
from certferry.cli.options import Config, State
from certferry.cli.output import BAD, SEVERITIES, Format, Output, block, document, duration, instant, show
from certferry.core import checks
from certferry.core.diagnosis import causes, sni_names
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbError
from certferry.settings import UserError

COLUMNS: Final = {"secret": "NAMESPACE/SECRET", "hosts": "HOSTS", "expires": "EXPIRES", "status": "STATUS"}
WIDE: Final = {
    "cluster": "CLUSTER",
    "role": "ROLE",
    "not_after": "NOT AFTER",
    "id": "ID",
    "name": "NAME",
    "fingerprint": "FINGERPRINT",
}
PLACES: Final = {
    "loadbalancer": "LOAD BALANCER",
    "port": "PORT",
    "slot": "SLOT",
    "hosts": "HOSTS",
    "ingresses": "INGRESSES",
}
_NOT_ON_THE_ELB: Final[dict[str, Any]] = {"not_before": None, "key": "", "chain": [], "findings": [], "places": []}
"""Fields of a certificate that an Ingress wants and that is not on the ELB."""
WATCH_INTERVAL: Final = 2.0
"""Seconds between two readings of ``--watch``."""


Namespace = Annotated[
    str | None, typer.Option("-n", "--namespace", help="Only Secrets and Ingresses of this namespace.")
]


class InventoryFormat(StrEnum):
    """Values of ``cert ls -o``."""

    table = "table"
    wide = "wide"
    json = "json"
    yaml = "yaml"
    cyclonedx = "cyclonedx"


def ls(
    namespace: Namespace = None,
    sort: Annotated[Sort, typer.Option(help="Sort by expires, secret, host or status.")] = Sort.expires,
    expires_within: Annotated[str | None, typer.Option(help="Only what expires within this time, like 30d.")] = None,
    unused: Annotated[bool, typer.Option("--unused", help="Only certificates that nothing uses.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Print again after each change.")] = False,
    cluster: Cluster = None,
    output: Annotated[
        InventoryFormat, typer.Option("-o", "--output", help="table, wide (all columns), json, yaml or cyclonedx.")
    ] = InventoryFormat.table,
    config: Config = None,
    state: State = None,
) -> None:
    """List certificates with their hosts, expiry and status. The first to expire comes first."""
    span = duration(expires_within) if expires_within else None

    async def listing(*, quiet: bool = False) -> tuple[list[dict[str, Any]], FleetSnapshot]:
        fleet = await read_fleet(config, state, cluster, quiet=quiet)
        rows = [r for r in inventory(fleet) if selected(r, namespace, span) and not (unused and r["used"])]
        return sorted(rows, key=lambda r: order(r, sort)), fleet

    def show_rows(rows: list[dict[str, Any]], fleet: FleetSnapshot) -> None:
        if output is InventoryFormat.cyclonedx:
            typer.echo(_cyclonedx(rows, fleet))
        else:
            _print_rows(rows, Format(output))

    async def work() -> int:
        rows, fleet = await listing()
        show_rows(rows, fleet)
        while watch:
            await asyncio.sleep(WATCH_INTERVAL)
            before, (rows, fleet) = rows, await listing(quiet=True)
            if _significant(rows) != _significant(before):
                typer.echo()
                show_rows(rows, fleet)
        return fleet.code

    run(work)


def expiring(
    namespace: Namespace = None,
    cluster: Cluster = None,
    output: Output = Format.table,
    config: Config = None,
    state: State = None,
) -> None:
    """List certificates whose renewal is late, and why. Exit code 1 if there is one.

    A certificate that an Ingress wants and that has expired or cannot be used comes first.
    """

    async def work() -> int:
        fleet = await read_fleet(config, state, cluster)
        rows = [r for r in inventory(fleet) if r["used"] and late(r) and selected(r, namespace, None)]
        rows.sort(key=lambda r: (not r["needs_action"], order(r, Sort.expires)))
        if not output.for_people:
            document(rows, output)
        elif not rows:
            typer.echo("No renewal is late." if not fleet.code else "No renewal is late as far as clusters answered.")
        for row in rows if output.for_people else ():
            facts = [
                ("hosts", row["hosts"]),
                ("expires", _expiry(row)),
                ("status", row["status"]),
                ("why", row["why"]),
                ("next", row["next"]),
            ]
            wide = [(key, row[key]) for key in WIDE if key != "not_after"] if output is Format.wide else []
            typer.echo(block(row["secret"], facts + wide) + "\n")
        return BAD if rows else fleet.code

    run(work)


def where(
    certificate: Reference,
    cluster: Cluster = None,
    output: Output = Format.table,
    config: Config = None,
    state: State = None,
) -> None:
    """Show each listener that uses a certificate, with slot, hosts and Ingresses."""

    async def work() -> int:
        fleet = await read_fleet(config, state, cluster)
        rows = [place for located in fleet.matching(certificate) for place in places(located)]
        if rows or not output.for_people:
            wide = {"governing": "LISTENER OWNER", "cluster": "CLUSTER", "listener": "LISTENER", "id": "ID"}
            show(rows, PLACES, output, wide)
        else:
            typer.echo("No listener uses it.")
        return fleet.code

    run(work)


def show_one(
    certificate: Reference,
    cluster: Cluster = None,
    output: Output = Format.table,
    config: Config = None,
    state: State = None,
) -> None:
    """Show everything about one certificate: source, status, findings, listeners, break-glass."""

    async def work() -> int:
        fleet = await read_fleet(config, state, cluster)
        listed = inventory(fleet)
        rows = {(r["cluster"], r["id"]): r for r in listed}
        facts = [
            r | _NOT_ON_THE_ELB for r in listed if not r["id"] and certificate.removeprefix("secret/") == r["secret"]
        ]
        facts += [
            await _facts(fleet, located, rows[located.cluster.name, located.info.id])
            for located in (fleet.matching(certificate) if not facts else ())
        ]
        if output.for_people:
            for one in facts:
                _print(one, output)
        else:
            document(facts, output)
        return fleet.code

    run(work)


def _cyclonedx(rows: Iterable[Mapping[str, Any]], fleet: FleetSnapshot) -> str:
    """Return the document of the certificates in `rows`. Raises UserError without the package for it."""
    try:
        from certferry.cli.cert.cyclonedx import inventory_document
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("certferry"):
            raise
        raise UserError("-o cyclonedx needs the extra “cyclonedx”: pip install 'certferry[cyclonedx]'.", 1) from None
    located = {(c.cluster.name, c.info.id): c for c in fleet.certificates()}
    keys = ((row, located.get((row["cluster"], row["id"]))) for row in rows)
    return inventory_document((certificate, row) for row, certificate in keys if certificate)


def _significant(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows without what changes by itself as time passes."""
    return [{key: value for key, value in row.items() if key != "expires"} for row in rows]


def _print_rows(rows: list[dict[str, Any]], output: Format) -> None:
    if not rows and output.for_people:
        typer.echo("There is no such certificate.")
        return
    several = len({row["cluster"] for row in rows}) > 1
    show(rows, {"cluster": "CLUSTER", **COLUMNS} if several else COLUMNS, output, WIDE)


def _expiry(row: Mapping[str, Any]) -> str:
    if row["not_after"] is None:
        return ""
    return f"{instant(row['not_after'])} ({row['expires']})"


async def _facts(fleet: FleetSnapshot, located: LocatedCertificate, row: dict[str, Any]) -> dict[str, Any]:
    info, snapshot, now = located.info, located.snapshot, datetime.now(UTC)
    certificate = snapshot.observed.certificates[info.id]
    chain = certificate.chain
    assert chain is not None
    cause = causes.cause(info.origin) if info.origin else None
    findings = checks.findings(
        chain,
        None,
        info.hosts,
        now,
        fleet.checks,
        taken=sni_names.overlapping_names(certificate, snapshot.observed),
        unused=sni_names.unused_names(certificate, fleet.hosts(snapshot)),
        compromised=snapshot.compromised,
    )
    facts = row | {
        "not_before": info.not_before,
        "key": chain.key,
        "chain": [link.subject for link in chain.links],
        "findings": [{"reason": f.reason, "severity": f.severity, "sentence": f.sentence} for f in findings],
        "places": places(located),
        "why_not_newer": row["why"] or (cause.why if cause else ""),
        "next": row["next"] or (cause.command if cause else ""),
    }
    if "status" not in snapshot.extensions:
        return facts
    async with located.cluster.elb(short=True) as elb:
        try:
            status = await extensions.status(elb, info.id)
        except ElbError as error:
            return facts | {"elb_status": error.message}
    # only the ELB has the version before, to compare with
    reported = {f["reason"] for f in facts["findings"]}
    facts["findings"] += [
        {"reason": f.reason, "severity": f.severity, "sentence": f.sentence}
        for f in status.findings
        if f.reason in ("ClientAuthRemoved", "KeyReused", "KeyTypeChanged", "NamesRemoved") and f.reason not in reported
    ]
    return facts | {
        "break_glass": status.break_glass,
        "data_plane": [
            {"listener": slot.listener_id, "slot": slot.slot, "state": slot.state, "message": slot.message}
            for slot in status.listeners
        ],
    }


def _print(facts: dict[str, Any], output: Format) -> None:
    lines: list[tuple[str, Any]] = [
        ("hosts", facts["hosts"]),
        ("status", facts["status"]),
        ("expires", _expiry(facts)),
        ("valid from", facts["not_before"]),
        ("source", facts["source"]),
        ("owner", facts["owner"]),
        ("ingresses", facts["ingresses"]),
        ("names", facts["names"]),
        ("key", facts["key"]),
        ("chain", facts["chain"]),
        ("fingerprint", facts["fingerprint"]),
        ("id", facts["id"]),
        ("quarantined", facts["quarantined"]),
        ("ELB status", facts.get("elb_status")),
        ("why", facts["why"]) if not facts["id"] else ("not newer", facts["why_not_newer"]),
        ("next", facts["next"]),
    ]
    if glass := facts.get("break_glass"):
        lines.append((glass.kind, f"until {instant(glass.until)}: {glass.reason}"))
    if output is Format.wide:
        lines += [("name", facts["name"]), ("cluster", facts["cluster"]), ("role", facts["role"])]
    lines += [
        (SEVERITIES[finding["severity"]], f"{finding['reason']}: {finding['sentence']}")
        for finding in facts["findings"]
    ]
    for slot in facts.get("data_plane", ()):
        detail = f": {slot['message']}" if slot["message"] else ""
        where = f" of listener {slot['listener']}" if output is Format.wide else ""
        lines.append(("data plane", f"{slot['slot']} slot{where} {slot['state']}{detail}"))
    typer.echo(block(facts["secret"], lines))
    if facts["places"]:
        typer.echo()
        show(facts["places"], PLACES, output)
    typer.echo()
