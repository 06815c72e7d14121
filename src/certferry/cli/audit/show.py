"""``certferry audit``: the audit logs of all ELBs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from certferry.cli.cert.lookup import Cluster, each, run
from certferry.cli.options import Config, State, chosen
from certferry.cli.output import Format, Output, duration, show, warn
from certferry.clusters import ClusterAccess
from certferry.elb.client import extensions
from certferry.settings import UserError

COLUMNS: Final = {"when": "WHEN", "user": "USER", "verb": "VERB", "kind": "KIND", "name": "NAME"}
WIDE: Final = {
    "fingerprint": "FINGERPRINT",
    "reason": "REASON",
    "resource_id": "ID",
    "cluster": "CLUSTER",
    "request_id": "REQUEST",
}


Since = Annotated[str | None, typer.Option(help="Only changes since then: 1h, 2d, or 2026-11-23T12:00 (UTC).")]


def audit(
    context: typer.Context,
    certificate: Annotated[str | None, typer.Option(help="Only this certificate, by id.")] = None,
    host: Annotated[str | None, typer.Option(help="Only what serves this host.")] = None,
    since: Since = None,
    cluster: Cluster = None,
    output: Output = Format.table,
    config: Config = None,
    state: State = None,
) -> None:
    """Show who changed what on the load balancers. The oldest change comes first."""
    if context.invoked_subcommand:
        return
    begin = instant_since(since) if since else None

    async def work() -> int:
        rows, code = await collect(config, state, cluster, begin, certificate, host)
        several = {"cluster": "CLUSTER"} if len({row["cluster"] for row in rows}) > 1 else {}
        show(rows, several | COLUMNS, output, WIDE)
        return code

    run(work)


async def collect(
    config: Path | None,
    state: Path | None,
    cluster: str | None,
    since: datetime | None,
    certificate: str | None = None,
    host: str | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """Return the records of all clusters, oldest first, and the exit code."""

    async def ask(access: ClusterAccess) -> list[dict[str, Any]]:
        async with access.elb(short=True) as elb:
            if "audit" not in await extensions.available(elb):
                warn(f"The ELB of {access.name} has no audit log.")
                return []
            records = extensions.audit(elb, certificate=certificate, host=host, since=since)
            return [_row(access.name, record) async for record in records]

    answers, code = await each(chosen(config, state, cluster), ask)
    return sorted((r for a in answers for r in a.value or ()), key=lambda r: (r["at"], r["sequence"])), code


def _row(cluster: str, record: extensions.Record) -> dict[str, Any]:
    return {
        "cluster": cluster,
        "when": f"{record.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "at": record.at,
        "user": record.user,
        "role": record.role,
        "verb": record.verb,
        "kind": record.kind,
        "resource_id": record.resource_id,
        "name": record.name or record.resource_id,
        "fingerprint": record.fingerprint,
        "previous_fingerprint": record.previous_fingerprint,
        "reason": record.reason,
        "request_id": record.request_id,
        "sequence": record.sequence,
    }


def instant_since(text: str) -> datetime:
    """Parse the value of ``--since``: a time, or a duration before now. Raises UserError."""
    if text[-1:] in "smhd" and text[:-1].isdigit():
        return datetime.now(UTC) - duration(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"--since {text} is not a time: write it like 1h, 2d or 2026-11-23T12:00 (UTC).") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
