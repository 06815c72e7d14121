"""``certferry horizon``: who renews each certificate, when next, and what shorter lifetimes change."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from certferry.cli.cert.lookup import Cluster, read_fleet, run
from certferry.cli.options import Config, State
from certferry.cli.output import BAD, Format, ago, block, document, show, table, terminal_width
from certferry.core.horizon.icalendar import calendar
from certferry.core.horizon.projection import CertificateProjection, Horizon, LoadPeriod, RuleEffect, horizon_of
from certferry.core.plural import counted

COLUMNS: Final = {"secret": "NAMESPACE/SECRET", "tool": "RENEWED BY", "next": "NEXT", "life": "DAYS OF LIFE"}
WIDE: Final = {"by": "FROM", "hosts": "HOSTS", "due": "DUE", "not_after": "NOT AFTER", "cluster": "CLUSTER", "id": "ID"}
RULES: Final = {"since": "FROM", "days": "DAYS", "whose": "ISSUED BY", "effect": "EFFECT HERE"}
LOAD: Final = {
    "begin": "FROM",
    "renewals": "RENEWALS",
    "per_day": "A DAY",
    "most": "MOST",
    "busiest": "ON",
    "by_hand": "BY HAND",
}


class HorizonFormat(StrEnum):
    """Values of ``-o``."""

    table = "table"
    wide = "wide"
    json = "json"
    yaml = "yaml"
    ical = "ical"


def horizon(
    cluster: Cluster = None,
    output: Annotated[
        HorizonFormat, typer.Option("-o", "--output", help="table, wide (all columns), json, yaml or ical.")
    ] = HorizonFormat.table,
    config: Config = None,
    state: State = None,
) -> None:
    """Show who renews each certificate, when, and the load of shorter lifetimes. Exit code 1 if a renewal would fail."""

    async def work() -> int:
        fleet = await read_fleet(config, state, cluster)
        located = list(fleet.certificates())
        clusters = {c.info.id: c.cluster.name for c in located}
        result = horizon_of((c.info for c in located), datetime.now(UTC), fleet.limits)
        if output is HorizonFormat.ical:
            typer.echo(calendar(result), nl=False)
        elif (form := Format(output)).for_people:
            _print(result, clusters, form)
        else:
            document(as_data(result, clusters), form)
        return BAD if result.failing else fleet.code

    run(work)


def as_data(result: Horizon, clusters: dict[str, str]) -> dict[str, Any]:
    """Return the projected renewals for JSON and YAML; `clusters`: the cluster of each certificate, by id."""
    return {
        "at": result.at,
        "until": result.until,
        "certificates": [_row(c, clusters, result.at) for c in result.certificates],
        "dates": [_rule(effect) for effect in result.rules],
        "periods": [_period(p) for p in result.periods],
        "days": [{"date": day, "renewals": count} for day, count in result.days],
    }


def _print(result: Horizon, clusters: dict[str, str], form: Format) -> None:
    if not result.certificates:
        typer.echo("No certificate is in use.")
        return
    rows = [_row(c, clusters, result.at) for c in result.certificates]
    show(rows, COLUMNS, form, WIDE)
    width = terminal_width() if form is Format.table else None
    typer.echo("\nLongest lifetimes")
    typer.echo(table([_rule(effect) for effect in result.rules], RULES, width))
    typer.echo("\nLoad, if each renewal happens when it is due")
    typer.echo(table([_period(p) for p in result.periods], LOAD, width))
    failing = [row for row in rows if row["would_fail"]]
    typer.echo(f"\n{counted(len(failing), 'renewal')} would fail today" + ("." if not failing else ":"))
    for row in failing:
        typer.echo(block(row["secret"], [("hosts", row["hosts"]), ("why", row["why"]), ("next", row["command"])]))


def _row(one: CertificateProjection, clusters: dict[str, str], now: datetime) -> dict[str, Any]:
    renewal, info = one.renewal, one.renewal.certificate
    name = info.origin.secret_name if info.origin else None
    return {
        "cluster": clusters.get(info.id, ""),
        "secret": str(name) if name else f"(ELB) {info.name}",
        "id": info.id,
        "hosts": list(info.hosts or info.names),
        "renewer": renewal.renewer,
        "tool": renewal.by.partition(" (")[0],
        "by": renewal.by,
        "next": f"overdue, {ago(renewal.due, now)}" if renewal.overdue else ago(renewal.due, now),
        "due": renewal.due,
        "overdue": renewal.overdue,
        "not_after": info.not_after,
        "life": ", ".join(map(str, _lives(one))),
        "days": one.days,
        "renewals": len(one.renewals),
        "steps": [
            {"since": s.since.date(), "first": s.first, "days": s.days, "every": round(s.every, 1)} for s in one.steps
        ],
        "would_fail": renewal.obstacle is not None,
        "why": renewal.obstacle.why if renewal.obstacle else "",
        "command": renewal.obstacle.command if renewal.obstacle else "",
    }


def _lives(one: CertificateProjection) -> Iterable[int]:
    return (one.days, *(step.days for step in one.steps))


def _rule(effect: RuleEffect) -> dict[str, Any]:
    rule = effect.rule
    if not effect.certificates:
        text = "No certificate is theirs."
    elif effect.in_force:
        text = f"In force; {effect.longer_lived} of {effect.certificates} certificates still live longer."
    else:
        by_hand = f" ({effect.by_hand} by hand)" if effect.by_hand else ""
        text = f"Shorter for {effect.shorter} of {counted(effect.certificates, 'certificate')}{by_hand}."
    return {
        "since": rule.since.date(),
        "days": rule.days,
        "whose": rule.whose,
        "reuse_seconds": int(rule.reuse.total_seconds()),
        "effect": f"{text} {effect.validation}" if effect.certificates else text,
        "in_force": effect.in_force,
        "certificates": effect.certificates,
        "shorter": effect.shorter,
        "by_hand": effect.by_hand,
        "still_longer": effect.longer_lived,
    }


def _period(period: LoadPeriod) -> dict[str, Any]:
    return {
        "begin": period.begin,
        "end": period.end,
        "renewals": period.renewals,
        "per_day": round(period.per_day, 2),
        "most": period.most,
        "busiest": period.busiest,
        "by_hand": period.by_hand,
    }
