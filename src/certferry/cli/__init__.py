"""The command line: one command per program, and a few for trying things out.

``main`` is the console script. What a user can put right is one line and an exit code (2: cannot be
done like this; 3: a newer state; 1: it went wrong), never a traceback. One module per subject.
"""

from __future__ import annotations

import sys
from typing import Final

import typer
from typer.exceptions import TyperException

from certferry import __version__
from certferry.cli import alerts, audit, cert, demo
from certferry.cli.cluster import doctor, explain, plan, rbac, release, why
from certferry.cli.programs import console, envoy, kubeconfig, store, user
from certferry.cli.programs import run as programs
from certferry.runtime import parent_watch as lifeline
from certferry.settings import UserError

NAME: Final = "certferry"

app = typer.Typer(
    help="Keeps the HTTPS certificate of every LoadBalancer ingress valid, from the Secret to the socket.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for program in (programs.up, programs.elb, programs.kube):
    app.command()(program)
controller = typer.Typer(invoke_without_command=True)
controller.callback()(programs.controller)
controller.command()(release.release)
app.add_typer(controller, name="controller")
for command in (store.backup, store.restore, store.rotate_seal_key):
    app.command()(command)
app.command()(console.console)
app.command()(rbac.rbac)
app.command()(kubeconfig.kubeconfig)
app.command()(why.why)
app.command()(audit.audit)
app.add_typer(cert.app, name="cert")
app.add_typer(alerts.app, name="alerts")
app.command()(doctor.doctor)
app.command()(plan.plan)
app.add_typer(explain.app, name="explain")
app.add_typer(envoy.app, name="envoy")
app.add_typer(demo.app, name="demo")
app.add_typer(user.app, name="user")


def main() -> None:
    """Run the command in ``sys.argv``."""
    lifeline.exit_with_parent()
    try:
        code = app(prog_name=NAME, standalone_mode=False)
    except UserError as refused:
        _leave(str(refused), refused.code)
    except TyperException as misuse:
        if sentence := misuse.format_message().rstrip("."):
            context = getattr(misuse, "ctx", None)
            command = context.command_path if context else NAME
            _leave(f"{sentence}. See `{command} --help`.", misuse.exit_code)
        sys.exit(misuse.exit_code)  # its help was all that there was to say
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _leave(sentence: str, code: int) -> None:
    print(f"certferry: {' '.join(sentence.split())}", file=sys.stderr)  # noqa: T201 - the one place for it
    sys.exit(code)
