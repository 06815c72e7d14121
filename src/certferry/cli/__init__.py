"""The command line: ``main`` is the console script, one module per command or group of commands.

An error that the user can correct is one line and an exit code, never a traceback:
1: the command failed, 2: it cannot be done this way, 3: the state is newer than this program.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from typing import Annotated, Final

import typer
from typer.exceptions import TyperException

from certferry import __version__
from certferry.cli.lazy import Entry, lazy_group
from certferry.runtime import process

NAME: Final = "certferry"

_CERTIFICATES: Final = "Certificates"
_CLUSTERS: Final = "Clusters and their load balancers"
_PROGRAMS: Final = "Programs"
_OPERATION: Final = "Operation"

COMMANDS: Final = {
    "cert": Entry("certferry.cli.cert:app", "List, check, replace and roll back certificates.", _CERTIFICATES),
    "issuer": Entry(
        "certferry.cli.issuer:app", "Manage CAs that issue certificates: add, list, remove.", _CERTIFICATES
    ),
    "why": Entry(
        "certferry.cli.cluster.why:why", "Explain what HOST serves, what is wrong, and what to do next.", _CERTIFICATES
    ),
    "explain": Entry("certferry.cli.cluster.explain:app", "Explain which certificate a host gets.", _CERTIFICATES),
    "horizon": Entry(
        "certferry.cli.cluster.horizon:horizon",
        "Show who renews each certificate, when, and the load of shorter lifetimes.",
        _CERTIFICATES,
    ),
    "audit": Entry("certferry.cli.audit:app", "Show who changed what on the load balancers.", _CERTIFICATES),
    "plan": Entry(
        "certferry.cli.cluster.plan:plan", "Show what manifests would change on the load balancer, and why.", _CLUSTERS
    ),
    "doctor": Entry(
        "certferry.cli.cluster.doctor:doctor", "Check what the controller needs, and say how to fix it.", _CLUSTERS
    ),
    "rbac": Entry(
        "certferry.cli.cluster.rbac:rbac",
        "Print the controller's RBAC manifests and its Namespace, ready for `kubectl apply -f -`.",
        _CLUSTERS,
    ),
    "alerts": Entry("certferry.cli.alerts:app", "Test the delivery of alerts.", _CLUSTERS),
    "up": Entry("certferry.cli.programs.run:up", "Run everything from one directory.", _PROGRAMS, extra="up"),
    "controller": Entry(
        "certferry.cli.programs.run:controller_app",
        "Run the controller: make an ELB match the Ingresses of a cluster.",
        _PROGRAMS,
    ),
    "elb": Entry(
        "certferry.cli.programs.run:elb_app",
        "Run the load balancer service: ELB v3 API and Envoy.",
        _PROGRAMS,
        extra="elb",
    ),
    "console": Entry("certferry.cli.programs.console:console", "Run the web console.", _PROGRAMS, extra="console"),
    "kube": Entry("certferry.cli.programs.run:kube", "Run the embedded Kubernetes API.", _PROGRAMS),
    "service": Entry(
        "certferry.cli.programs.service:app", "Run a program as a systemd service of this machine.", _OPERATION
    ),
    "user": Entry("certferry.cli.programs.user:app", "Manage the users of an ELB.", _OPERATION, extra="elb"),
    "envoy": Entry(
        "certferry.cli.programs.envoy:app", "Manage remote Envoys: add, list, remove.", _OPERATION, extra="elb"
    ),
    "kubeconfig": Entry(
        "certferry.cli.programs.kubeconfig:kubeconfig",
        "Print a kubeconfig for the embedded Kubernetes API.",
        _OPERATION,
    ),
    "backup": Entry("certferry.cli.programs.store:backup", "Copy the ELB's store to a file.", _OPERATION, extra="elb"),
    "restore": Entry(
        "certferry.cli.programs.store:restore", "Replace the ELB's store by a backup.", _OPERATION, extra="elb"
    ),
    "rotate-encryption-key": Entry(
        "certferry.cli.programs.store:rotate_encryption_key",
        "Encrypt all stored private keys and secrets under a new key.",
        _OPERATION,
        extra="elb",
    ),
    "rotate-seal-key": Entry(
        "certferry.cli.programs.store:rotate_seal_key", "Renamed to rotate-encryption-key.", _OPERATION, hidden=True
    ),
    "demo": Entry("certferry.cli.demo:app", "Try things out with `certferry up`.", _OPERATION),
    "version": Entry("certferry.cli:version", "Print the version.", _OPERATION),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    help="Keeps the HTTPS certificate of every LoadBalancer ingress valid, from the Secret to the socket.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_OUTPUT: Final = (errno.EPIPE, errno.ENOSPC)
"""Errors of a write to standard output."""


def main() -> None:
    """Run the command in ``sys.argv``."""
    if sys.stdout is None:  # closed by the caller
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
    process.forbid_core_dumps()
    process.exit_with_parent()
    if sys.argv[1:] in (["version"], ["--version"]):  # without Typer's 30 ms
        print(__version__)  # noqa: T201
        return
    try:
        code = app(prog_name=NAME, standalone_mode=False)
    except TyperException as misuse:
        message = misuse.format_message()
        if message.startswith("Usage:"):  # a group without a command
            typer.echo(message, err=True)
            sys.exit(misuse.exit_code)
        context = getattr(misuse, "ctx", None)
        command = context.command_path if context else NAME
        message += _renamed(context.info_name if context else "", getattr(misuse, "option_name", ""))
        end = "" if message.endswith(("?", ".")) else "."
        _exit(f"{message}{end} See `{command} --help`.", misuse.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except OSError as error:
        if error.errno not in _OUTPUT or error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at the end fails again
        _exit(f"The output cannot be written: {error.strerror}.", 1)
    except ModuleNotFoundError as missing:
        command, package = next(iter(sys.argv[1:]), ""), (missing.name or "").partition(".")[0]
        if package == NAME or command not in COMMANDS or not (extra := COMMANDS[command].extra):
            raise
        _exit(f"`{NAME} {command}` needs the extra “{extra}” ({package} is missing): pip install '{NAME}[{extra}]'.", 1)
    except Exception as error:
        from certferry.settings import UserError  # not above, because it imports cryptography

        if not isinstance(error, UserError):
            raise
        _exit(str(error), error.code)
    finally:
        gc.freeze()  # else the end of the process searches all modules for garbage, for 30 ms
    sys.exit(code if isinstance(code, int) else 0)


def _renamed(command: str | None, option: str) -> str:
    """Return the present name of a flag of version 0.1, to be added to the error; "" if it was not renamed."""
    if not option:
        return ""
    from certferry.settings.renamed import new_name

    present = new_name(command or "", option.lstrip("-").replace("-", "_"))
    return f". It is --{present.replace('_', '-')} now" if present else ""


@app.callback()
def _root(
    show_version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    if show_version:
        version()
        raise typer.Exit


def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _exit(sentence: str, code: int) -> None:
    print(f"{NAME}: {' '.join(sentence.split())}", file=sys.stderr)  # noqa: T201 - the one place for it
    sys.exit(code)
