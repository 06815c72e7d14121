"""``certferry user``: users of an ELB and their roles.

Works on the state directory. A running ELB applies a change at the next request.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certferry.cli.lazy import TYPER
from certferry.cli.options import Config, State
from certferry.settings import ElbSettings, UserError, read

if TYPE_CHECKING:
    from certferry.elb.server.identity.admin import Directory

app = typer.Typer(help="Manage the users of an ELB.", no_args_is_help=True, **TYPER)

Name = Annotated[str, typer.Argument(help="The user's name.")]
Role = Annotated[str, typer.Option(help="admin, member, reader or controller.")]
Cluster = Annotated[str | None, typer.Option(help="Cluster of a controller; it owns what the controller writes.")]


@app.command()
def ls(state: State = None, config: Config = None) -> None:
    """List all users; of access keys, the public half."""
    with _directory(state, config) as directory:
        for user in directory.users():
            of = f" of {user.cluster}" if user.cluster else ""
            keys = ", ".join(user.access_keys) or "none"
            password = "password" if user.password else "no password"
            typer.echo(f"{user.name}  {user.role}{of}  project {user.project}  {password}  access keys: {keys}")


@app.command()
def add(
    name: Name,
    role: Role = "member",
    cluster: Cluster = None,
    project: Annotated[str, typer.Option(help="Project; created if absent.")] = "certferry",
    password: Annotated[
        bool, typer.Option("--password/--no-password", help="Ask for a password, or read it from a pipe.")
    ] = True,
    state: State = None,
    config: Config = None,
) -> None:
    """Add a user. Without a password it only signs its requests: make it a pair with `certferry user keys`."""
    secret = _password() if password else None
    with _directory(state, config, new=True) as directory:
        made = directory.add(name, role=role, project=project, password=secret, cluster=cluster)
    typer.echo(f"User {made.name} ({made.role}) added to project {made.project} ({made.project_id})")


@app.command()
def passwd(name: Name, state: State = None, config: Config = None) -> None:
    """Change a user's password. Tokens issued before become invalid."""
    with _directory(state, config) as directory:
        directory.user(name)
        directory.set_password(name, _password())
    typer.echo(f"Password of {name} changed; tokens issued before are invalid")


@app.command()
def role(
    name: Name,
    role: Annotated[str, typer.Argument(help="admin, member, reader or controller.")],
    cluster: Cluster = None,
    state: State = None,
    config: Config = None,
) -> None:
    """Change a user's role."""
    with _directory(state, config) as directory:
        directory.set_role(name, role, cluster)
    typer.echo(f"{name} is {role} from the next request on")


@app.command()
def keys(
    name: Name,
    new: Annotated[bool, typer.Option("--new", help="Create a pair, and show it once.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="With --new: credentials file (0600) for `certferry controller`.")
    ] = None,
    revoke: Annotated[str | None, typer.Option(help="Access key to revoke.")] = None,
    state: State = None,
    config: Config = None,
) -> None:
    """List, make or revoke the AK/SK pairs of a user."""
    with _directory(state, config) as directory:
        if new and revoke:
            raise UserError("Either --new or --revoke, not both.")
        if out and not new:
            raise UserError("--out is for the secret of a pair that is made: it needs --new.")
        if revoke:
            directory.revoke_key(name, revoke)
            typer.echo(f"Access key {revoke} of {name} revoked")
        elif new:
            _show_new(directory, name, out)
        else:
            for access_key in directory.user(name).access_keys:
                typer.echo(access_key)


@app.command()
def remove(name: Name, state: State = None, config: Config = None) -> None:
    """Remove a user with its keys and tokens."""
    with _directory(state, config) as directory:
        user = directory.user(name)
        directory.remove(name)
    typer.echo(f"User {name} removed")
    if user.cluster:
        typer.echo(f"Objects of cluster {user.cluster} stay locked until its release (certferry controller release)")


def _show_new(directory: Directory, name: str, out: Path | None) -> None:
    from msgspec import json

    from certferry.runtime import private_files

    user = directory.user(name)
    pair = directory.add_key(name)
    if out is None:
        typer.echo(f"access_key  {pair.access_key}\nsecret_key  {pair.secret_key}\nproject_id  {user.project_id}")
        return
    content = {
        "project_id": user.project_id,
        "username": name,  # a controller knows its own changes by it in the event stream
        "access_key": pair.access_key,
        "secret_key": pair.secret_key,
    }
    try:
        private_files.write(out.expanduser(), json.encode(content).decode() + "\n")
    except OSError as error:
        directory.revoke_key(name, pair.access_key)
        raise UserError(f"{out} cannot be written: {error.strerror}.") from None
    typer.echo(f"Access key {pair.access_key} of {name}, with its secret, is in {out}")


@contextmanager
def _directory(state: Path | None, config: Path | None, *, new: bool = False) -> Iterator[Directory]:
    from certferry.elb.server.identity.admin import opened

    settings = read(ElbSettings, "elb", {"state": state}, os.environ, config)
    with opened(settings, new=new) as directory:
        yield directory


def _password() -> str:
    """Ask twice at a terminal, else read the first line of standard input."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\n")
