"""``certferry demo``: certificates, tokens and shell variables for trying out ``certferry up``."""

from __future__ import annotations

import os
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from certferry.cli.lazy import TYPER
from certferry.cli.options import not_listening
from certferry.cli.output import instant
from certferry.settings import UserError, host_port, state_default

State = Annotated[Path | None, typer.Option(envvar="CERTFERRY_STATE", help="State directory of `certferry up`.")]

_MOST_DAYS = 36_500
_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.IGNORECASE)

app = typer.Typer(help="Try things out with `certferry up`.", no_args_is_help=True, **TYPER)


@app.command()
def certificate(
    days: Annotated[float, typer.Option(help="Days until it expires.")] = 90,
    bad: Annotated[str | None, typer.Option(help="Defect: mismatch, garbage, expired or wrong-host.")] = None,
    host: Annotated[str | None, typer.Option(help="Host that it covers.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Path of the files without .crt, .key, .json. Default: demo/new in the state; with --bad, demo/DEFECT."
        ),
    ] = None,
    state: State = None,
) -> None:
    """Issue a certificate of the demo CA: .crt and .key for a Secret, .json to POST to an ELB."""
    from certferry.demo import ca
    from certferry.runtime.private_ca import PrivateCaError

    if not 0 < days <= _MOST_DAYS:
        raise UserError(f"--days is a number from 1 to {_MOST_DAYS}.")
    if host is not None and not _HOST.fullmatch(host):
        raise UserError("--host is a host name in ASCII, like shop.example or *.shop.example.")
    if bad is not None and bad not in ca.BAD:
        raise UserError(f"There is no --bad {bad}; choose one of {', '.join(ca.BAD)}.")
    folder, now = (state or state_default(os.environ)).expanduser() / "demo", datetime.now(UTC)
    if not (folder / "ca.crt").exists():
        raise UserError(f"{folder} has no demo CA: start `certferry up` first, or name its --state.")
    make, host = ca.BAD[bad] if bad else ca.good, host or ca.HOST
    try:
        authority = ca.open_authority(folder, now)
        files = ca.save(make(authority, host, now, days), out or folder / (bad or "new"), "demo", host)
    except OSError as error:
        raise UserError(f"{error.filename or folder} cannot be written: {error.strerror}.") from None
    except PrivateCaError as damaged:
        raise UserError(str(damaged)) from None
    typer.echo(f"{files.certificate} and {files.key.name} ({_about(files.certificate, bad)})")


@app.command()
def token(state: State = None) -> None:
    """Print a token of the ELB of a running `certferry up`, for the header X-Auth-Token."""
    from certferry.up.environment import log_in

    typer.echo(log_in(_state(state)))


@app.command()
def env(state: State = None) -> None:
    """Print shell variables of a running `certferry up`, for `eval "$(certferry demo env)"`.

    IP, HTTPS_PORT, ELB, PROJECT, TOKEN, KUBECONFIG, CERTFERRY_CONFIG, DEMO (the folder with ca.crt), and PATH with
    `certferry` and `kubectl`. If it fails, kubectl in that shell reaches no cluster, so that a pasted session stops.
    """
    from certferry.up.environment import variables

    try:
        exports = variables(_state(state))
    except UserError:
        typer.echo("export KUBECONFIG=/dev/null")  # else the rest of the session would change another cluster
        raise
    for name, value in exports.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command(hidden=True)
def backend(listen: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1:8080") -> None:
    """Run the web server behind the demo page. `certferry up` starts it."""
    from certferry.demo.backend import serve

    try:
        serve(*host_port(listen))
    except OSError as error:
        raise not_listening(listen, error) from None


def _state(state: Path | None) -> Path:
    return (state or state_default(os.environ)).expanduser().absolute()


def _about(certificate: Path, bad: str | None) -> str:
    from certferry.core.x509.pem import InvalidPem, parse_chain

    try:
        chain = parse_chain(certificate.read_text())
    except InvalidPem as defect:
        return str(defect)
    wrong = " with the key of another," if bad == "mismatch" else ""
    return f"for {', '.join(chain.names)},{wrong} expires {instant(chain.not_after)}"
