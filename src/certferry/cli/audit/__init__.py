"""``certferry audit``: the audit logs of all ELBs, listed, exported and verified."""

from __future__ import annotations

from typing import Final

import typer

from certferry.cli.audit.show import audit
from certferry.cli.lazy import TYPER, Entry, lazy_group

COMMANDS: Final = {
    "export": Entry(
        "certferry.cli.audit.export:export",
        "Print the audit log as JSON lines, each chained by hash to the one before.",
    ),
    "verify": Entry(
        "certferry.cli.audit.export:verify", "Check that no record of an export was changed, removed, added or moved."
    ),
}

app = typer.Typer(cls=lazy_group(COMMANDS), help="Show who changed what on the load balancers.", **TYPER)
app.callback(invoke_without_command=True)(audit)
