"""``certferry audit export`` and ``verify``: the audit log as a file whose records are chained by hash."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from certferry.cli.audit.chain import chained, objection
from certferry.cli.audit.show import Since, collect, instant_since
from certferry.cli.cert.lookup import Cluster, run
from certferry.cli.options import Config, State
from certferry.cli.output import warn
from certferry.core.plural import counted
from certferry.settings import UserError


def export(since: Since = None, cluster: Cluster = None, config: Config = None, state: State = None) -> None:
    """Print the audit log as JSON lines, each chained by hash to the one before. The last hash goes to standard error."""
    begin = instant_since(since) if since else None

    async def work() -> int:
        rows, code = await collect(config, state, cluster, begin)
        lines = list(chained({key: row[key] for key in row if key != "when"} for row in rows))
        for line in lines:
            typer.echo(line.decode())
        _, count, last = objection(lines)
        warn(f"{counted(count, 'record')}; keep the last hash elsewhere: {last}")
        return code

    run(work)


def verify(
    file: Annotated[Path, typer.Argument(help="A file that `certferry audit export` wrote.")],
    last: Annotated[str, typer.Option("--hash", help="The last hash, as the export printed it.")] = "",
) -> None:
    """Check that no record of an export was changed, removed, added or moved. Exit code 1 if one was."""
    try:
        with file.open("rb") as lines:
            defect, count, final = objection((line.rstrip(b"\r\n") for line in lines), last.strip().lower())
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
    if defect:
        typer.echo(f"{file}: {defect}")
        raise typer.Exit(1)
    typer.echo(f"{file}: {counted(count, 'record')}, unchanged. Last hash: {final}")
