"""The command line: one command per program, and a few for trying things out.

``main`` is the console script. Flags become settings here and nowhere else; what a user can put
right is one line and an exit code (2: cannot be done like this; 3: a newer state; 1: it went wrong),
never a traceback. Programs are imported when their command runs, so that each starts fast.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from certferry import __version__, lifeline
from certferry.settings import (
    ControllerSettings,
    ElbSettings,
    KubeServerSettings,
    Refused,
    UpSettings,
    host_port,
    read,
    state_default,
)

app = typer.Typer(
    help="Keeps the HTTPS certificate of every LoadBalancer ingress valid, from the Secret to the socket.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
demo = typer.Typer(help="For trying things out with `certferry up`.", no_args_is_help=True)
app.add_typer(demo, name="demo")

Config = Annotated[
    Path | None,
    typer.Option(envvar="CERTFERRY_CONFIG", help="Settings file (YAML or JSON), a section per program."),
]
State = Annotated[Path | None, typer.Option(help="The directory that everything lives in.")]
Listen = Annotated[str | None, typer.Option(help="Where to listen, like 127.0.0.1:8080.")]


def main() -> None:
    """Run the command in ``sys.argv``."""
    lifeline.watch()
    try:
        code = app(standalone_mode=False)
    except Refused as refused:
        _leave(str(refused), refused.code)
    except TyperException as misuse:
        _leave(f"{misuse.format_message()} See `certferry --help`.", misuse.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


@app.command()
def up(
    state: State = None,
    demo: Annotated[
        bool | None, typer.Option("--demo/--no-demo", help="The demo page and its commands.")
    ] = None,
    patience: Annotated[float | None, typer.Option(help="Seconds to wait until all is ready.")] = None,
    config: Config = None,
) -> None:
    """Everything at once, from one directory: Kubernetes API, ELB, Envoy, controller, demo."""
    from certferry import preflight
    from certferry.up import run

    if trouble := preflight.platform_objection():
        raise Refused(trouble)
    settings = read(
        UpSettings, "up", {"state": state, "demo": demo, "patience": patience}, os.environ, config
    )
    if config:
        # The programs that are started read their sections of the same file.
        os.environ["CERTFERRY_CONFIG"] = str(config.expanduser().absolute())
    typer.secho(f"Certferry {__version__}, state in {settings.state}", dim=True)
    run(settings, say=typer.echo, show=_show)


@app.command()
def elb(
    state: State = None,
    listen: Listen = None,
    vip_subnet: Annotated[str | None, typer.Option(help="Where load balancers get their addresses.")] = None,
    vip_shared_address: Annotated[
        str | None, typer.Option(help="The one address that all of them share.")
    ] = None,
    privileged_shift: Annotated[
        int | None, typer.Option(help="Added to ports under 1024, like 8000.")
    ] = None,
    accounts_for: Annotated[
        str | None, typer.Option(help="Make an admin and a controller of this cluster.")
    ] = None,
    config: Config = None,
) -> None:
    """The load balancer service: ELB v3 API, certificate store, Envoy."""
    from certferry.elb.service import serve

    flags = {
        "state": state,
        "listen": listen,
        "vip_subnet": vip_subnet,
        "vip_shared_address": vip_shared_address,
        "privileged_shift": privileged_shift,
    }
    settings = read(
        ElbSettings, "elb", {"state": state_default(os.environ)} | _given(flags), os.environ, config
    )
    _serve("elb", lambda: serve(settings, accounts_for), settings.listen)


@app.command()
def kube(
    state: State = None,
    listen: Listen = None,
    loopback_endpoints: Annotated[
        bool | None, typer.Option("--loopback-endpoints", help="Allow loopback addresses in EndpointSlices.")
    ] = None,
    config: Config = None,
) -> None:
    """The embedded Kubernetes-compatible API."""
    from certferry.kube.server import serve

    flags = {"state": state, "listen": listen, "loopback_endpoints": loopback_endpoints}
    settings = read(KubeServerSettings, "kube", flags, os.environ, config)
    _serve("kube", lambda: serve(settings), settings.listen)


@app.command()
def controller(
    kubeconfig: Annotated[Path | None, typer.Option(help="Default: the Pod's service account.")] = None,
    context: Annotated[str | None, typer.Option(help="Context in the kubeconfig.")] = None,
    elb_url: Annotated[
        str | None, typer.Option(help="Origin of the ELB API, like https://elb.example.com.")
    ] = None,
    elb_credentials: Annotated[Path | None, typer.Option(help="JSON file (0600) with the ELB user.")] = None,
    elb_ca: Annotated[
        Path | None, typer.Option(help="CA of the ELB's certificate. Default: the system's.")
    ] = None,
    default_loadbalancer: Annotated[str | None, typer.Option(help="For an Ingress that names none.")] = None,
    listen: Annotated[str | None, typer.Option(help="For /metrics, /healthz and /readyz.")] = None,
    config: Config = None,
) -> None:
    """The controller: makes an ELB match the Ingresses of a Kubernetes cluster."""
    from certferry.controller.serve import serve
    from certferry.elb.credentials import CredentialsError
    from certferry.kube.kubeconfig import KubeconfigError

    host, port = host_port(listen) if listen else (None, None)
    flags = {
        "kubeconfig": _text(kubeconfig),
        "context": context,
        "elb_url": elb_url,
        "elb_credentials": _text(elb_credentials),
        "elb_ca": _text(elb_ca),
        "default_loadbalancer": default_loadbalancer,
        "listen_host": host,
        "listen_port": port,
    }
    settings = read(ControllerSettings, "controller", flags, os.environ, config)
    at = f"{settings.listen_host}:{settings.listen_port}"
    _serve("controller", lambda: serve(settings), at, KubeconfigError, CredentialsError)


@demo.command()
def certificate(
    days: Annotated[float, typer.Option(help="Days until it expires.")] = 90,
    bad: Annotated[
        str | None, typer.Option(help="What is wrong with it: mismatch, garbage, expired, wrong-host.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The name it is for.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Files to write, without .crt, .key, .json. Default: demo/new in the state."),
    ] = None,
    state: State = None,
) -> None:
    """Make a certificate and key of the demo CA: .crt and .key for a Secret, .json to POST to an ELB."""
    from certferry.demo import ca

    if bad is not None and bad not in ca.BAD:
        raise Refused(f"There is no --bad {bad}: choose one of {', '.join(ca.BAD)}.")
    folder, now = (state or state_default(os.environ)).expanduser() / "demo", datetime.now(UTC)
    make, host = ca.BAD[bad] if bad else ca.good, host or ca.HOST
    try:
        authority = ca.open_authority(folder, now)
        files = ca.save(make(authority, host, now, days), out or folder / (bad or "new"), "demo", host)
    except OSError as error:
        raise Refused(f"{error.filename or folder} cannot be written: {error.strerror}.") from None
    typer.echo(f"{files.certificate} and {files.key.name} ({_about(files.certificate, bad)})")


@demo.command()
def token(state: State = None) -> None:
    """Log in to the ELB of a running `certferry up` and print a token for the X-Auth-Token header."""
    from certferry.up.login import token as log_in

    typer.echo(log_in((state or state_default(os.environ)).expanduser()))


@demo.command(hidden=True)
def backend(listen: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1:8080") -> None:
    """The web server behind the demo page; `certferry up` starts it."""
    from certferry.demo.backend import serve

    try:
        serve(*host_port(listen))
    except OSError as error:
        raise _not_listening(listen, error) from None


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _about(certificate: Path, bad: str | None) -> str:
    from certferry.core.pem import Defect, parse_chain

    try:
        chain = parse_chain(certificate.read_text())
    except Defect as defect:
        return str(defect)
    wrong = " with the key of another," if bad == "mismatch" else ""
    return f"for {', '.join(chain.names)},{wrong} expires {chain.not_after:%Y-%m-%d %H:%M} UTC"


def _serve(
    program: str, work: Callable[[], Coroutine[Any, Any, None]], listen: str, *refusals: type[Exception]
) -> None:
    """Run a server until it ends. What the system refuses, and `refusals`, are one line each."""
    from certferry import logs

    logs.configure(program)
    try:
        asyncio.run(work())
    except refusals as refusal:
        raise Refused(str(refusal)) from None
    except OSError as error:
        raise _not_listening(listen, error) from None


def _not_listening(listen: str, error: OSError) -> Refused:
    return Refused(f"{listen} cannot be listened on: {error.strerror or error}.")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.expanduser())


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _show(text: str) -> None:
    for line in text.splitlines():
        typer.secho(line, bold=line.startswith("Certferry"), dim=line.startswith("#"))


def _leave(sentence: str, code: int) -> None:
    print(f"certferry: {' '.join(sentence.split())}", file=sys.stderr)  # noqa: T201 - the one place for it
    sys.exit(code)
