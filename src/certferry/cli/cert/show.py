"""``certferry cert ls``, ``show``, ``where``, ``expiring``: which certificates there are, where, and their status.

Status and problems are those of the hosts (``core.diagnosis.host_state``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from certferry.cli.cert.lookup import Cluster, FleetSnapshot, LocatedCertificate, Reference, read_fleet, run
from certferry.cli.options import Config, State
from certferry.cli.output import BAD, SEVERITIES, Format, Output, ago, block, document, duration, show
from certferry.core import checks
from certferry.core.diagnosis import causes, sni_overlap, usage
from certferry.core.diagnosis.host_state import HostState, WantedCertificate
from certferry.core.diagnosis.inventory import SEVERITY
from certferry.core.model import quarantine
from certferry.core.x509 import expiry
from certferry.core.x509.pem import Chain
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbError

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
ABSENT: Final = ("SecretNotFound", "CertificateNotFound")
WATCH_INTERVAL: Final = 2.0
"""Seconds between two readings of ``--watch``."""


class Sort(StrEnum):
    """Values of ``--sort``."""

    expires = "expires"
    secret = "secret"  # noqa: S105 - the column
    host = "host"
    status = "status"


Namespace = Annotated[
    str | None, typer.Option("-n", "--namespace", help="Only Secrets and Ingresses of this namespace.")
]


def ls(
    namespace: Namespace = None,
    sort: Annotated[Sort, typer.Option(help="Sort by expires, secret, host or status.")] = Sort.expires,
    expires_within: Annotated[str | None, typer.Option(help="Only what expires within this time, like 30d.")] = None,
    unused: Annotated[bool, typer.Option("--unused", help="Only certificates that nothing uses.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Print again after each change.")] = False,
    cluster: Cluster = None,
    output: Output = Format.table,
    config: Config = None,
    state: State = None,
) -> None:
    """List certificates with their hosts, expiry and status. The first to expire comes first."""
    span = duration(expires_within) if expires_within else None

    async def listing(*, quiet: bool = False) -> tuple[list[dict[str, Any]], int]:
        fleet = await read_fleet(config, state, cluster, quiet=quiet)
        rows = [r for r in inventory(fleet) if _selected(r, namespace, span) and not (unused and r["used"])]
        return sorted(rows, key=lambda r: _order(r, sort)), fleet.code

    async def work() -> int:
        rows, code = await listing()
        _print_rows(rows, output)
        while watch:
            await asyncio.sleep(WATCH_INTERVAL)
            before, (rows, code) = rows, await listing(quiet=True)
            if _significant(rows) != _significant(before):
                typer.echo()
                _print_rows(rows, output)
        return code

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
        rows = [r for r in inventory(fleet) if r["used"] and _late(r) and _selected(r, namespace, None)]
        rows.sort(key=lambda r: (not r["needs_action"], _order(r, Sort.expires)))
        if not output.for_people:
            document(rows, output)
        elif not rows:
            typer.echo("No renewal is late.")
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
        rows = {(r["cluster"], r["id"]): r for r in inventory(fleet)}
        facts = [
            await _facts(fleet, located, rows[located.cluster.name, located.info.id])
            for located in fleet.matching(certificate)
        ]
        if output.for_people:
            for one in facts:
                _print(one, output)
        else:
            document(facts, output)
        return fleet.code

    run(work)


def inventory(fleet: FleetSnapshot) -> list[dict[str, Any]]:
    """Return a row for each certificate, and for each that an Ingress wants and the ELB does not have."""
    states = {id(snapshot): fleet.hosts(snapshot) for snapshot in fleet.clusters}
    rows = [_row(fleet, located, states[id(located.snapshot)]) for located in fleet.certificates()]
    for snapshot in fleet.clusters:
        located = [c for c in fleet.certificates() if c.snapshot is snapshot]
        present = {str(c.secret) if c.secret else c.info.id for c in located}
        absent: dict[str, list[tuple[HostState, WantedCertificate]]] = {}
        for state in states[id(snapshot)]:
            for wanted in state.wants:
                name = str(wanted.source.secret or wanted.source.certificate_id)
                if name not in present and not wanted.good:
                    absent.setdefault(name, []).append((state, wanted))
        rows += [_absent_row(snapshot.cluster.name, wants, fleet) for _, wants in sorted(absent.items())]
    return rows


def places(located: LocatedCertificate) -> list[dict[str, Any]]:
    """Return a row for each slot of a listener that has the certificate."""
    snapshot, view = located.snapshot, located.snapshot.view
    if view is None:
        return [
            {"cluster": located.cluster.name, "id": located.info.id, "port": port, "loadbalancer": balancer}
            for port, _, balancer in (text.partition("@") for text in located.info.listeners)
        ]
    return [
        {
            "cluster": located.cluster.name,
            "id": use.certificate,
            "loadbalancer": _balancer(located, use.loadbalancer),
            "listener": use.listener,
            "port": use.port,
            "slot": use.slot,
            "hosts": list(use.hosts or use.names),
            "ingresses": [str(i) for i in use.ingresses],
            "governing": str(use.governing) if use.governing else "",
        }
        for use in usage.uses(snapshot.diagnosis)
        if use.certificate == located.info.id
    ]


def _row(fleet: FleetSnapshot, located: LocatedCertificate, states: Iterable[HostState]) -> dict[str, Any]:
    info, origin, now = located.info, located.info.origin, datetime.now(UTC)
    mine = [s for s in states if _concerns(s, located)]
    worst = max(mine, key=_rank, default=None)
    age = expiry.state(info.not_before, info.not_after, now, fleet.limits)
    status: str = info.role
    if worst is not None:
        status = _status(worst, age)
    elif info.role == "stored":
        status = "unused"
    elif info.role == "chosen":
        status = "not bound"
    cause = causes.cause(origin) if origin else None
    problem = worst.problems[0] if worst and worst.problems else None
    return {
        "cluster": located.cluster.name,
        "secret": str(located.secret) if located.secret else f"(ELB) {info.name}",
        "id": info.id,
        "name": info.name,
        "role": info.role,
        "status": status,
        "state": age,
        "expires": ago(info.not_after, now),
        "not_after": info.not_after,
        "fingerprint": info.fingerprint,
        "names": list(info.names),
        "hosts": sorted({*info.hosts, *(s.host for s in mine if s.host)}),
        "ingresses": [str(i) for i in info.ingresses],
        "source": causes.source(origin) if origin else "",
        "owner": causes.owner(origin) if origin else "",
        "quarantined": quarantine.quarantined_mark(origin.certificate.description) if origin else None,
        "used": info.used,
        "needs_action": bool(worst and worst.needs_action),
        "why": problem.sentence if problem else cause.why if cause and age != "good" else "",
        "next": problem.action if problem else cause.command if cause and age != "good" else "",
    }


def _absent_row(cluster: str, wants: list[tuple[HostState, WantedCertificate]], fleet: FleetSnapshot) -> dict[str, Any]:
    """Return the row of a certificate that Ingresses want and the ELB does not have."""
    state, wanted = wants[0]
    now = datetime.now(UTC)
    chain: Chain | None = wanted.chain
    problem = next((p for p in state.problems if p.reason == wanted.reason), None)
    return {
        "cluster": cluster,
        "secret": str(wanted.source.secret or f"(ELB) {wanted.source.certificate_id}"),
        "id": "",
        "name": "",
        "role": "missing",
        "status": f"{'missing' if wanted.reason in ABSENT else 'unusable'} ({wanted.reason})",
        "state": expiry.state(chain.not_before, chain.not_after, now, fleet.limits) if chain else "",
        "expires": ago(chain.not_after, now) if chain else "",
        "not_after": chain.not_after if chain else None,
        "fingerprint": chain.fingerprint if chain else "",
        "names": list(chain.names) if chain else [],
        "hosts": sorted({s.host for s, _ in wants if s.host}),
        "ingresses": sorted({f"{w.ingress.namespace}/{w.ingress.name}" for _, w in wants}),
        "source": str(wanted.source),
        "owner": f"namespace {wanted.object.namespace}",
        "quarantined": None,
        "used": True,
        "needs_action": True,
        "why": wanted.sentence,
        "next": problem.action if problem else state.next_action,
    }


def _concerns(state: HostState, located: LocatedCertificate) -> bool:
    """Return whether a host has its status from this certificate: it wants it, or it is bound and wants none."""
    bound = state.bound is not None and state.bound.certificate_id == located.info.id
    if state.wanted is None or not state.host:
        return bound and (state.wanted is None or state.wanted.certificate_id == located.info.id)
    source = state.wanted.source
    if source.secret:
        return source.secret == located.secret
    return source.certificate_id == located.info.id


def _status(state: HostState, age: str) -> str:
    reason = state.problems[0].reason if state.problems else age if state.status == "expiring" else ""
    if state.status in ("served", "expiring") and state.wanted and not state.wanted.good:
        reason = f"update rejected: {reason}"  # else it would read as the reason of the served certificate
    return f"{state.status} ({reason})" if reason else state.status


def _rank(state: HostState) -> tuple[int, int]:
    return SEVERITY.index(state.status), len(state.problems)


def _late(row: Mapping[str, Any]) -> bool:
    return bool(row["state"] != "good" or row["needs_action"])


def _selected(row: Mapping[str, Any], namespace: str | None, span: timedelta | None) -> bool:
    if namespace and not any(name.startswith(f"{namespace}/") for name in (row["secret"], *row["ingresses"])):
        return False
    return span is None or (row["not_after"] is not None and row["not_after"] <= datetime.now(UTC) + span)


def _order(row: Mapping[str, Any], sort: Sort) -> tuple[Any, ...]:
    end = row["not_after"] or datetime.min.replace(tzinfo=UTC)
    first: Any = {
        Sort.expires: end,
        Sort.secret: row["secret"],
        Sort.host: row["hosts"],
        Sort.status: -SEVERITY.index(word) if (word := row["status"].split(" ")[0]) in SEVERITY else 0,
    }[sort]
    return first, end, row["secret"], row["id"]


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
    return f"{row['not_after'].astimezone(UTC):%Y-%m-%d %H:%M} UTC ({row['expires']})"


def _balancer(located: LocatedCertificate, ref: str) -> str:
    balancer = located.snapshot.observed.loadbalancers.get(ref)
    return f"{balancer.name or ref} ({balancer.vip_address})" if balancer else ref


async def _facts(fleet: FleetSnapshot, located: LocatedCertificate, row: dict[str, Any]) -> dict[str, Any]:
    info, snapshot, now = located.info, located.snapshot, datetime.now(UTC)
    certificate = snapshot.observed.certificates[info.id]
    chain = certificate.chain
    assert chain is not None
    cause = causes.cause(info.origin) if info.origin else None
    findings = checks.findings(
        chain, None, info.hosts, now, fleet.checks, taken=sni_overlap.overlapping_names(certificate, snapshot.observed)
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
        if f.reason in ("KeyReused", "KeyTypeChanged", "NamesRemoved") and f.reason not in reported
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
        ("not newer", facts["why_not_newer"]),
        ("next", facts["next"]),
    ]
    if glass := facts.get("break_glass"):
        lines.append(("break-glass", f"until {glass.until:%Y-%m-%d %H:%M} UTC: {glass.reason}"))
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
