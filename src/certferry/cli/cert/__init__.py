"""``certferry cert``: the certificates of all clusters and load balancers of the settings.

Commands print tables, JSON or YAML (``-o``). Exit codes: 0; 1: the answer is that something is wrong;
2: it cannot be done this way; 4: a cluster did not answer.
"""

from __future__ import annotations

from typing import Final

import typer

from certferry.cli.lazy import TYPER, Entry, lazy_group

COMMANDS: Final = {
    "ls": Entry("certferry.cli.cert.show:ls", "List certificates with their hosts, expiry and status."),
    "show": Entry("certferry.cli.cert.show:show_one", "Show everything about one certificate."),
    "where": Entry("certferry.cli.cert.show:where", "Show each listener that uses a certificate."),
    "expiring": Entry("certferry.cli.cert.show:expiring", "List certificates whose renewal is late, and why."),
    "history": Entry("certferry.cli.cert.history:history", "List the versions of a certificate."),
    "check": Entry(
        "certferry.cli.cert.check:check", "Check a file, an address, a Secret or an Ingress; change nothing."
    ),
    "wait": Entry("certferry.cli.cert.wait:wait", "Wait until every listener serves a certificate to clients of HOST."),
    "replace": Entry("certferry.cli.cert.replace:replace", "Replace a certificate everywhere it is used.", "Changes"),
    "issue": Entry("certferry.cli.cert.issue:issue", "Order a certificate from a CA.", "Issuance"),
    "renew": Entry("certferry.cli.cert.issue:renew", "Renew an ordered certificate now.", "Issuance"),
    "orders": Entry("certferry.cli.cert.issue:orders", "List orders with their state and next renewal.", "Issuance"),
    "cancel": Entry("certferry.cli.cert.issue:cancel", "End an order.", "Issuance"),
    "rollback": Entry("certferry.cli.cert.history:rollback", "Serve an earlier version of a certificate.", "Changes"),
    "compromised": Entry(
        "certferry.cli.cert.compromised:compromised",
        "Mark a private key as compromised: its certificates leave service.",
        "Changes",
    ),
    "resume": Entry("certferry.cli.cert.history:resume", "Try a quarantined Secret again.", "Changes"),
    "break-glass": Entry(
        "certferry.cli.cert.history:break_glass",
        "Replace a certificate on the ELB alone, for a limited time.",
        "Changes",
    ),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS), help="List, check, replace and roll back certificates.", no_args_is_help=True, **TYPER
)


@app.callback()
def _group() -> None: ...
