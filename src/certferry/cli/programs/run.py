"""Commands that run the programs: everything at once, and each alone. Flags become settings here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import structlog  # noqa: F401 (while rich is hidden: see ``lazy``)
import typer

from certferry import __version__
from certferry.cli.cluster.release import release
from certferry.cli.lazy import TYPER
from certferry.cli.options import Config, Listen, New, State, run_server, text
from certferry.cli.programs.store import migrate_store
from certferry.settings import (
    AlertSettings,
    ConsoleSettings,
    ControllerSettings,
    ElbSettings,
    KubeServerSettings,
    UpSettings,
    UserError,
    host_port,
    read,
)


def up(
    state: State = None,
    demo: Annotated[bool | None, typer.Option("--demo/--no-demo", help="The demo page and its commands.")] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Serve this cluster in place of the embedded Kubernetes API, without the demo.")
    ] = None,
    ready_timeout: Annotated[float | None, typer.Option(help="Seconds to wait until all is ready.")] = None,
    new: New = False,
    config: Config = None,
) -> None:
    """Run everything from one directory: Kubernetes API, ELB, Envoy, controller, console and demo."""
    import python_multipart  # noqa: F401 - of the console, another process; absent without the extra “up”

    from certferry import preflight
    from certferry.up.run import run

    if trouble := preflight.platform_objection():
        raise UserError(trouble)
    flags = {"state": state, "demo": demo, "kubeconfig": kubeconfig, "ready_timeout": ready_timeout}
    settings = read(UpSettings, "up", flags, os.environ, config)
    if demo and settings.kubeconfig:
        raise UserError("The demo needs the embedded Kubernetes API: leave out --demo or --kubeconfig.")
    _over_plain_http(config)
    if config:
        # The programs that are started read their sections of the same file.
        os.environ["CERTFERRY_CONFIG"] = str(config.expanduser().absolute())
    typer.secho(f"Certferry {__version__}, state in {settings.state}", dim=True)
    run(settings, say=typer.echo, show=_show, new=new)


def _over_plain_http(config: Path | None) -> None:
    """Raise UserError if settings give the ELB or the console of `up` a TLS certificate."""
    programs: tuple[tuple[str, type[ElbSettings | ConsoleSettings]], ...] = (
        ("elb", ElbSettings),
        ("console", ConsoleSettings),
    )
    for program, kind in programs:
        settings = read(kind, program, {}, os.environ, config)
        if settings.tls_certificate or settings.tls_key:
            raise UserError(
                f"`certferry up` reaches its own {program} over plain HTTP on this machine: leave out "
                f"{program}.tls_certificate and {program}.tls_key, or run `certferry {program}` by itself."
            )


def elb(
    context_: typer.Context,
    state: State = None,
    listen: Listen = None,
    vip_subnet: Annotated[str | None, typer.Option(help="Subnet of the load balancers' addresses.")] = None,
    vip_shared_address: Annotated[str | None, typer.Option(help="One address that all load balancers share.")] = None,
    privileged_shift: Annotated[int | None, typer.Option(help="Added to ports under 1024, like 8000.")] = None,
    trusted_proxy: Annotated[
        list[str] | None, typer.Option(help="Address whose X-Forwarded-For counts, such as a console's. Repeatable.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Serve the API over TLS with this chain (PEM); watched.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key file.")] = None,
    accounts_for: Annotated[str | None, typer.Option(help="Create an admin, and a controller of this cluster.")] = None,
    new: New = False,
    config: Config = None,
) -> None:
    """Run the load balancer service: ELB v3 API and Envoy."""
    if context_.invoked_subcommand is not None:
        return
    from certferry.elb.server.main import serve

    flags = {
        "state": state,
        "listen": listen,
        "vip_subnet": vip_subnet,
        "vip_shared_address": vip_shared_address,
        "privileged_shift": privileged_shift,
        "trusted_proxies": trusted_proxy or None,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
    }
    settings = read(ElbSettings, "elb", flags, os.environ, config)
    run_server("elb", lambda: serve(settings, accounts_for, new=new), settings.listen)


def kube(
    state: State = None,
    listen: Listen = None,
    loopback_endpoints: Annotated[
        bool | None, typer.Option("--loopback-endpoints", help="Allow loopback addresses in EndpointSlices.")
    ] = None,
    new: New = False,
    config: Config = None,
) -> None:
    """Run the embedded Kubernetes API."""
    from certferry.kube.apiserver.main import serve

    flags = {"state": state, "listen": listen, "loopback_endpoints": loopback_endpoints}
    settings = read(KubeServerSettings, "kube", flags, os.environ, config)
    run_server("kube", lambda: serve(settings, new=new), settings.listen)


def controller(
    context_: typer.Context,
    cluster: Annotated[
        str | None, typer.Option(help="Entry of “clusters” in the settings file, instead of the next five options.")
    ] = None,
    kubeconfig: Annotated[Path | None, typer.Option(help="Default: the Pod's service account.")] = None,
    context: Annotated[str | None, typer.Option(help="Context in the kubeconfig.")] = None,
    elb_url: Annotated[str | None, typer.Option(help="Origin of the ELB API, like https://elb.example.com.")] = None,
    elb_credentials: Annotated[Path | None, typer.Option(help="JSON file (0600) with the ELB user.")] = None,
    elb_ca: Annotated[Path | None, typer.Option(help="CA of the ELB's certificate. Default: the system's.")] = None,
    default_loadbalancer: Annotated[
        str | None, typer.Option(help="Load balancer of an Ingress that names none.")
    ] = None,
    observe: Annotated[bool | None, typer.Option("--observe", help="Write nothing; plan, probe and count.")] = None,
    lease: Annotated[
        str | None, typer.Option(help="NAMESPACE/NAME of the Lease by which replicas elect a leader.")
    ] = None,
    listen: Annotated[str | None, typer.Option(help="Address for /metrics, /healthz and /readyz.")] = None,
    config: Config = None,
) -> None:
    """Run the controller: make an ELB match the Ingresses of a cluster."""
    if context_.invoked_subcommand is not None:
        return
    from certferry.alerts.sender import run as deliver
    from certferry.alerts.webhook import Webhook
    from certferry.cli.alerts import rules
    from certferry.cli.cluster.own_certificates import own_endpoints
    from certferry.clusters import one
    from certferry.controller.main import serve
    from certferry.elb.client.credentials import CredentialsError
    from certferry.kube.client.kubeconfig import KubeconfigError

    host, port = host_port(listen) if listen else (None, None)
    flags = {
        "cluster": cluster,
        "kubeconfig": text(kubeconfig),
        "context": context,
        "elb_url": elb_url,
        "elb_credentials": text(elb_credentials),
        "elb_ca": text(elb_ca),
        "default_loadbalancer": default_loadbalancer,
        "observe": observe,
        "lease": lease,
        "listen_host": host,
        "listen_port": port,
    }
    settings = read(ControllerSettings, "controller", flags, os.environ, config)
    at = f"{settings.listen_host}:{settings.listen_port}"
    access = one(settings, config)
    alerts = read(AlertSettings, "alerts", {}, os.environ, config)
    own = own_endpoints(os.environ, config)
    if alerts.webhook:
        Webhook(alerts)  # reports wrong settings before anything starts

    async def work() -> None:
        await serve(
            settings,
            access,
            rules(alerts),
            own,
            lambda it: deliver(
                it.alert_evaluator.alerts, alerts, lambda end: it.metrics.alert_deliveries.labels(end).inc()
            ),
        )

    run_server("controller", work, at, KubeconfigError, CredentialsError)


elb_app = typer.Typer(invoke_without_command=True, **TYPER)
elb_app.callback()(elb)
elb_app.command()(migrate_store)
controller_app = typer.Typer(invoke_without_command=True, **TYPER)
controller_app.callback()(controller)
controller_app.command()(release)


def _show(text: str) -> None:
    for line in text.splitlines():
        typer.secho(line, bold=line.startswith("Certferry"), dim=line.startswith("#"))
