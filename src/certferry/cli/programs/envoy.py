"""`certferry envoy`: the register of remote Envoys and the load balancers that they serve.

An Envoy authenticates by the certificate that `add` issues. A running ELB reads the register.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certferry.cli.lazy import TYPER
from certferry.cli.options import Config, State, given
from certferry.settings import ElbSettings, UserError, host_port, read

if TYPE_CHECKING:
    from certferry.elb.server.dataplane.remote.registry import RemoteEnvoyRegistry

app = typer.Typer(help="Manage remote Envoys: add, list, remove.", no_args_is_help=True, **TYPER)
_MODE = 0o600


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name in statuses and logs.")],
    loadbalancer: Annotated[list[str], typer.Option(help="Id of a load balancer that it serves; repeatable.")],
    out: Annotated[Path, typer.Option(help="Bootstrap file to write (0600: it holds a key).")],
    elb: Annotated[
        str | None, typer.Option(help="Host and port at which it reaches the ELB. Default: the setting.")
    ] = None,
    address: Annotated[
        str, typer.Option(help="Address that its listeners bind. Default: the load balancer's own address.")
    ] = "",
    days: Annotated[int, typer.Option(help="Days that its certificate is valid.", min=1, max=3650)] = 365,
    state: State = None,
    config: Config = None,
) -> None:
    """Add a remote Envoy, and write its bootstrap. For a name that exists, the old certificate becomes invalid."""
    from certferry.elb.server.dataplane.envoy.bootstrap import RemoteBootstrap, remote_bootstrap
    from certferry.elb.server.dataplane.remote.ca import SERVER_NAME, Authority
    from certferry.elb.server.dataplane.remote.registry import RemoteEnvoy, RemoteEnvoyRegistry
    from certferry.elb.server.identity.admin import opened

    settings = _settings(state, config)
    host, port = host_port(elb or settings.remote_envoys.advertise or settings.remote_envoys.listen)
    if not port or host in ("0.0.0.0", "::"):  # noqa: S104 (not an address to connect to)
        raise UserError("Give --elb: host and port at which the Envoy reaches the ELB.")
    try:
        with opened(settings, new=True) as directory:
            authority = Authority(directory.engine, directory.encryption)
            issued = authority.client(name, days)
            RemoteEnvoyRegistry(directory.engine).add(
                RemoteEnvoy(
                    name=name,
                    fingerprint=issued.fingerprint,
                    loadbalancers=tuple(loadbalancer),
                    not_after=issued.not_after,
                    address=address,
                )
            )
        to = RemoteBootstrap(
            name=name,
            host=host,
            port=port,
            server_name=SERVER_NAME,
            authority=authority.pem.decode(),
            certificate=issued.certificate.decode(),
            key=issued.key.decode(),
        )
        _write(out, remote_bootstrap(to, settings.envoy_options))
    except (OSError, ValueError) as problem:
        raise UserError(f"{name} was not added: {problem}") from None
    typer.echo(f"{out} (valid until {issued.not_after:%Y-%m-%d}). On the other machine: envoy -c {out.name}")


@app.command("ls")
def list_(state: State = None, config: Config = None) -> None:
    """List the remote Envoys."""
    with _register(state, config) as register:
        envoys = register.read()
    for envoy in envoys:
        over = " (expired)" if envoy.not_after < datetime.now(UTC) else ""
        typer.echo(f"{envoy.name}\t{','.join(envoy.loadbalancers)}\t{envoy.not_after:%Y-%m-%d}{over}")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Name of the Envoy.")], state: State = None, config: Config = None
) -> None:
    """Remove a remote Envoy. It keeps serving what it has, and gets no more updates."""
    with _register(state, config) as register:
        removed = register.remove(name)
    if not removed:
        raise UserError(f"There is no remote Envoy {name}: see `certferry envoy ls`.")
    typer.echo(f"Removed {name}. What it holds, keys included, is still on that machine.")


def _settings(state: Path | None, config: Path | None) -> ElbSettings:
    return read(ElbSettings, "elb", given({"state": state}), os.environ, config)


@contextmanager
def _register(state: Path | None, config: Path | None) -> Iterator[RemoteEnvoyRegistry]:
    from certferry.elb.server.dataplane.remote.registry import RemoteEnvoyRegistry
    from certferry.elb.server.identity.admin import opened

    with opened(_settings(state, config)) as directory:
        yield RemoteEnvoyRegistry(directory.engine)


def _write(out: Path, bootstrap: object) -> None:
    import msgspec

    with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE), "wb") as file:
        os.fchmod(file.fileno(), _MODE)
        file.write(msgspec.json.format(msgspec.json.encode(bootstrap)))
