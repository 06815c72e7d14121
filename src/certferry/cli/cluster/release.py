"""``certferry controller release``: give up everything that a cluster owns on an ELB."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certferry.cli.options import Config, State
from certferry.settings import ElbPlace, UserError

if TYPE_CHECKING:
    from certferry.core.model.elb import State as World
    from certferry.core.plan.release import Part
    from certferry.elb.client.client import ElbClient


def release(
    cluster: Annotated[str | None, typer.Option(help="Cluster: the id in descriptions, or the owner's name.")] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete it all, listeners included, instead of un-owning it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    elb_url: Annotated[str | None, typer.Option(help="Origin of the ELB API.")] = None,
    elb_credentials: Annotated[Path | None, typer.Option(help="JSON file (0600) with an admin of it.")] = None,
    elb_ca: Annotated[Path | None, typer.Option(help="CA of the ELB's certificate.")] = None,
    entry: Annotated[str | None, typer.Option(help="Entry of “clusters” in the settings whose ELB it is.")] = None,
    state: State = None,
    config: Config = None,
) -> None:
    """Give up everything that a cluster owns on an ELB. Shows a plan first.

    The cluster need not exist any more. Everything keeps serving, and other users may change it from then on.
    Stop the cluster's controller first.
    """
    from certferry.clusters import ClusterAccess, read
    from certferry.core.plan.release import deleted, un_owned
    from certferry.elb.client.client import ElbError
    from certferry.elb.client.credentials import CredentialsError

    if elb_url and elb_credentials:
        place = ElbPlace(url=elb_url, credentials_file=elb_credentials, ca=elb_ca)
        access = ClusterAccess(name="", elb_place=place)
    elif elb_url or elb_credentials:
        raise UserError("--elb-url and --elb-credentials belong together.")
    else:
        access = read(config, state).cluster(entry)
    try:
        asyncio.run(_work(access.elb(), cluster, deleted if delete else un_owned, yes))
    except CredentialsError as reason:
        raise UserError(str(reason)) from None
    except ElbError as error:
        raise UserError(f"{error}. Run the command again to continue.", code=1) from None


async def _work(
    client: ElbClient, cluster: str | None, way: Callable[[World, str], tuple[Part, ...]], yes: bool
) -> None:
    from certferry.controller.release import carry_out
    from certferry.core.plan.release import clusters
    from certferry.elb.client.observe import observe

    async with client as elb:
        observed = await observe(elb)
        owners = clusters(observed)
        chosen = cluster or _only(owners)
        parts = way(observed, chosen)
        if not parts:
            there = f"Clusters here: {', '.join(owners)}." if owners else "Nothing here belongs to a cluster."
            raise UserError(f"Nothing on this ELB belongs to cluster {chosen}. {there}")
        for part in parts:
            typer.echo(str(part))
        if not yes:
            typer.confirm(f"{len(parts)} changes to what cluster {chosen} has here. Go on?", abort=True)
        await carry_out(elb, parts, f"certferry controller release: cluster {chosen}", lambda _: None)
        typer.echo(f"Done: {len(parts)} changes. Nothing here belongs to cluster {chosen} any more.")


def _only(owners: Mapping[str, int]) -> str:
    match list(owners):
        case []:
            raise UserError("Nothing on this ELB belongs to a cluster.")
        case [one]:
            return one
        case many:
            raise UserError(
                f"Several clusters have something on this ELB: choose one of {', '.join(many)} with --cluster."
            )
