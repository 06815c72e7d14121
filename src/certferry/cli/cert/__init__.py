"""``certferry cert``: the certificates of all clusters and load balancers of the settings.

Commands answer as tables, JSON or YAML (``-o``), and end with 0, with 1 where the answer is that
something is wrong, with 2 for what cannot be done like this, and with 4 where a cluster did not answer.
"""

from __future__ import annotations

import typer

from certferry.cli.cert import check as checking
from certferry.cli.cert import history
from certferry.cli.cert import replace as replacing
from certferry.cli.cert import show as listing

app = typer.Typer(help="Certificates of all clusters and load balancers.", no_args_is_help=True)
app.command("ls")(listing.ls)
app.command("show")(listing.show_one)
app.command("where")(listing.where)
app.command("expiring")(listing.expiring)
app.command("check")(checking.check)
app.command("replace")(replacing.replace)
app.command("history")(history.history)
app.command("rollback")(history.rollback)
app.command("resume")(history.resume)
app.command("break-glass")(history.break_glass)
