"""``certferry cert ls``, ``show``, ``where``, ``expiring``: what there is, where, and for how long."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from certferry.cli.alerts import rules
from certferry.cli.cert.lookup import Cluster, Found, Reference, chosen, policy, read_fleet, run
from certferry.cli.options import Config, State
from certferry.cli.output import BAD, Format, Output, ago, document, show, table
from certferry.core import checks
from certferry.core.checks import Policy
from certferry.core.diagnosis import causes, usage
from certferry.core.diagnosis import sni_overlap as neighbours
from certferry.core.model import quarantine as parking
from certferry.core.x509 import expiry
from certferry.core.x509.expiry import Limits
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbError
from certferry.settings import AlertSettings, read

COLUMNS = ("cluster", "id", "name", "role", "state", "ends", "hosts", "source")


def ls(
    unused: Annotated[bool, typer.Option("--unused", help="Only those that nobody uses.")] = False,
    cluster: Cluster = None,
    output: Output = Format.table,
    config: Config = None,
    state: State = None,
) -> None:
    """List certificates with their hosts, expiry and status. The first to expire comes first."""

    async def work() -> int:
        seen = await read_fleet(chosen(config, state, cluster))
        rows = [row(f, limits(config)) for f in seen.certificates() if not unused or not f.it.used]
        show(rows, (*COLUMNS, "parked") if any(one["parked"] for one in rows) else COLUMNS, output)
        return seen.code

    run(work)


def expiring(
    cluster: Cluster = None, output: Output = Format.table, config: Config = None, state: State = None
) -> None:
    """List certificates whose renewal is late, and why. Exit code 1 if there is one."""

    async def work() -> int:
        seen, when = await read_fleet(chosen(config, state, cluster)), limits(config)
        rows = []
        for found in seen.certificates():
            one = row(found, when)
            if found.it.used and one["state"] != "good":
                cause = causes.cause(found.it.origin) if found.it.origin else None
                rows.append({**one, "why": cause.why, "next": cause.command} if cause else one)
        if rows or output is not Format.table:
            show(rows, ("cluster", "hosts", "state", "ends", "source", "why", "next"), output)
        else:
            typer.echo("No renewal is late.")
        return BAD if rows else seen.code

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
        seen = await read_fleet(chosen(config, state, cluster))
        rows = [place for found in seen.matching(certificate) for place in places(found)]
        if rows or output is not Format.table:
            show(
                rows,
                ("cluster", "id", "loadbalancer", "port", "seat", "hosts", "ingresses", "governing"),
                output,
            )
        else:
            typer.echo("It is used nowhere.")
        return seen.code

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
        seen = await read_fleet(chosen(config, state, cluster))
        rules = policy(config, state)
        facts = [await _facts(found, limits(config), rules) for found in seen.matching(certificate)]
        if output is Format.table:
            for one in facts:
                _print(one)
        else:
            document(facts, output)
        return seen.code

    run(work)


def limits(config: Any) -> Limits:
    """When each state begins, as the settings say."""
    from certferry.clusters import locate

    file = locate(config, None, os.environ)
    return rules(read(AlertSettings, "alerts", {}, os.environ, file)).limits


def row(found: Found, when: Limits) -> dict[str, Any]:
    """One certificate as a line."""
    it, now = found.it, datetime.now(UTC)
    return {
        "cluster": found.cluster.name,
        "id": it.id,
        "name": it.name,
        "role": it.role,
        "state": expiry.state(it.not_before, it.not_after, now, when),
        "ends": ago(it.not_after, now),
        "not_after": it.not_after,
        "fingerprint": it.fingerprint,
        "names": list(it.names),
        "hosts": list(it.hosts),
        "ingresses": [str(i) for i in it.ingresses],
        "source": causes.source(it.origin) if it.origin else "",
        "owner": causes.owner(it.origin) if it.origin else "",
        "parked": parking.parked(it.origin.certificate.description) if it.origin else None,
    }


def places(found: Found) -> list[dict[str, Any]]:
    """Where it is used, a line each."""
    picture = found.picture
    view = picture.view
    if view is None:
        return [
            {"cluster": found.cluster.name, "id": found.it.id, "port": port, "loadbalancer": balancer}
            for port, _, balancer in (text.partition("@") for text in found.it.listeners)
        ]
    return [
        {
            "cluster": found.cluster.name,
            "id": use.certificate,
            "loadbalancer": _balancer(found, use.loadbalancer),
            "listener": use.listener,
            "port": use.port,
            "seat": use.seat,
            "hosts": list(use.hosts or use.names),
            "ingresses": [str(i) for i in use.ingresses],
            "governing": str(use.governing) if use.governing else "",
        }
        for use in usage.uses(view, picture.observed, picture.options)
        if use.certificate == found.it.id
    ]


def _balancer(found: Found, ref: str) -> str:
    balancer = found.picture.observed.loadbalancers.get(ref)
    return f"{balancer.name or ref} ({balancer.vip_address})" if balancer else ref


async def _facts(found: Found, when: Limits, rules: Policy) -> dict[str, Any]:
    it, picture, now = found.it, found.picture, datetime.now(UTC)
    certificate = picture.observed.certificates[it.id]
    cause = causes.cause(it.origin) if it.origin else None
    chain = certificate.chain
    assert chain is not None
    facts = row(found, when) | {
        "not_before": it.not_before,
        "key": chain.key,
        "chain": [link.subject for link in chain.links],
        "findings": [
            {"reason": f.reason, "severity": f.severity, "sentence": f.sentence}
            for f in checks.findings(
                chain,
                None,
                it.hosts,
                now,
                rules,
                taken=neighbours.overlapping_names(certificate, picture.observed),
            )
        ],
        "places": places(found),
        "why_not_newer": cause.why if cause else "",
        "next": cause.command if cause else "",
    }
    if "status" not in picture.extensions:
        return facts
    async with found.cluster.elb() as elb:
        try:
            status = await extensions.status(elb, it.id)
        except ElbError as error:
            return facts | {"status": error.message}
    # only the ELB has the version before, to compare with
    told = {f["reason"] for f in facts["findings"]}
    facts["findings"] += [
        {"reason": f.reason, "severity": f.severity, "sentence": f.sentence}
        for f in status.findings
        if f.reason in ("KeyReused", "NamesRemoved") and f.reason not in told
    ]
    return facts | {
        "break_glass": status.break_glass,
        "data_plane": [
            {"listener": seat.listener_id, "seat": seat.seat, "state": seat.state, "message": seat.message}
            for seat in status.listeners
        ],
    }


def _print(facts: dict[str, Any]) -> None:
    lists = ("places", "findings", "data_plane")
    for key, value in facts.items():
        if key in lists or value in (None, "", []):
            continue
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        typer.echo(f"{key.replace('_', ' ')}: {text}")
    for finding in facts["findings"]:
        typer.echo(f"finding: {finding['severity']} {finding['reason']}: {finding['sentence']}")
    for seat in facts.get("data_plane", ()):
        said = f": {seat['message']}" if seat["message"] else ""
        typer.echo(f"data plane: {seat['seat']} of {seat['listener']} is {seat['state']}{said}")
    if facts["places"]:
        typer.echo(table(facts["places"], ("loadbalancer", "port", "seat", "hosts", "ingresses")))
    typer.echo()
