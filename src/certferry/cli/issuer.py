"""``certferry issuer``: the CAs that issue certificates for a load balancer service, and the accounts there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from certferry.cli.cert.lookup import Cluster, run
from certferry.cli.lazy import TYPER
from certferry.cli.options import Config, State, one_cluster
from certferry.cli.output import Format, Output, show
from certferry.elb.client import issuance
from certferry.settings import UserError

app = typer.Typer(help="Manage CAs that issue certificates: add, list, remove.", no_args_is_help=True, **TYPER)

COLUMNS: Final = {"name": "NAME", "directory": "DIRECTORY", "challenge": "CHALLENGE", "account": "ACCOUNT"}
WIDE: Final = {"key_type": "KEY", "profile": "PROFILE", "email": "EMAIL", "eab_kid": "EAB KID", "id": "ID"}
Name = Annotated[str, typer.Argument(help="The issuer's name.")]


@app.command()
def add(
    name: Name,
    directory: Annotated[str, typer.Option(help="URL of the CA's ACME directory.")],
    agree_tos: Annotated[bool, typer.Option("--agree-tos", help="Agree to the CA's terms of service.")] = False,
    email: Annotated[str, typer.Option(help="Address for the CA's messages.")] = "",
    profile: Annotated[str, typer.Option(help="Certificate profile of the CA, like shortlived.")] = "",
    key_type: Annotated[str, typer.Option(help="P-256, P-384, RSA-2048, RSA-3072 or RSA-4096.")] = "P-256",
    challenge: Annotated[str, typer.Option(help="http-01 or dns-01.")] = "http-01",
    eab_kid: Annotated[str, typer.Option(help="Key identifier of the external account binding.")] = "",
    eab_hmac_key: Annotated[
        Path | None, typer.Option(help="File with its HMAC key (base64url); - for standard input.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="Roots (PEM) of the directory's certificate. Default: the system's.")
    ] = None,
    cluster: Cluster = None,
    config: Config = None,
    state: State = None,
) -> None:
    """Add an issuer. Its account is registered with the first order."""
    if not agree_tos:
        raise UserError("Read the CA's terms of service, and agree to them with --agree-tos.")
    fields = {
        "name": name,
        "directory": directory,
        "terms_agreed": True,
        "email": email,
        "profile": profile,
        "key_type": key_type,
        "challenge": challenge,
        "eab_kid": eab_kid,
        "eab_hmac_key": _text(eab_hmac_key).strip(),
        "ca_certificates": _text(ca_file),
    }

    async def work() -> int:
        async with one_cluster(config, state, cluster).elb(short=True) as elb:
            made = await issuance.add_issuer(elb, fields)
        typer.echo(f"Issuer {made.name} added. Next: certferry cert issue NAME --issuer {made.name}")
        return 0

    run(work)


@app.command()
def ls(cluster: Cluster = None, output: Output = Format.table, config: Config = None, state: State = None) -> None:
    """List the issuers."""

    async def work() -> int:
        async with one_cluster(config, state, cluster).elb(short=True) as elb:
            rows = [{f: getattr(i, f) for f in i.__struct_fields__} for i in await issuance.issuers(elb)]
        show(rows, COLUMNS, output, WIDE)
        return 0

    run(work)


@app.command()
def remove(name: Name, cluster: Cluster = None, config: Config = None, state: State = None) -> None:
    """Remove an issuer that has no orders, and forget its account key."""

    async def work() -> int:
        async with one_cluster(config, state, cluster).elb(short=True) as elb:
            ids = [issuer.id for issuer in await issuance.issuers(elb) if name in (issuer.name, issuer.id)]
            if not ids:
                raise UserError(f"There is no issuer {name}: see `certferry issuer ls`.")
            await issuance.remove_issuer(elb, ids[0])
        typer.echo(f"Issuer {name} removed.")
        return 0

    run(work)


def _text(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return sys.stdin.read() if str(path) == "-" else path.expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}.") from None
