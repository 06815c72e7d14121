"""``certferry backup``, ``restore`` and ``rotate-encryption-key``: the ELB's store and its keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from certferry.cli.options import Config, State, given
from certferry.core.plural import counted
from certferry.settings import ElbSettings, UserError, read


def backup(
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    key_out: Annotated[Path | None, typer.Option(help="Also copy the encryption key, to another directory.")] = None,
    state: State = None,
    config: Config = None,
) -> None:
    """Copy the ELB's store to a file. The ELB may run. Private keys in the file are encrypted."""
    from certferry.elb.server import backup as elb_backup

    kept = elb_backup.backup(_settings(state, config), out.expanduser(), key_out.expanduser() if key_out else None)
    typer.echo(
        f"{out}: {counted(kept.certificates, 'certificate')}, {counted(kept.secrets, 'encrypted secret')}; all can be decrypted."
    )
    needed = ", ".join(sorted(kept.keys)) or "none"
    typer.echo(f"Encryption key ({needed}): {key_out or 'not in the backup; keep a copy elsewhere'}.")


def restore(
    saved: Annotated[Path, typer.Argument(help="A backup.")],
    key: Annotated[
        Path | None, typer.Option(help="Encryption key of the backup. Default: the one in the state directory.")
    ] = None,
    state: State = None,
    config: Config = None,
) -> None:
    """Replace the ELB's store by a backup. The ELB must not run, nor any other on its database."""
    from certferry.elb.server import backup as elb_backup

    kept = elb_backup.restore(_settings(state, config), saved.expanduser(), key.expanduser() if key else None)
    typer.echo(
        f"Restored {counted(kept.certificates, 'certificate')} and {counted(kept.secrets, 'encrypted secret')}; all can be decrypted."
    )
    typer.echo("The previous content is in the state directory as *.before-restore.")


def migrate_store(
    to: Annotated[str, typer.Option("--to", help="URL of an empty PostgreSQL database: postgresql://…")],
    state: State = None,
) -> None:
    """Copy the ELB's store from the state directory to PostgreSQL. The ELB must not run."""
    from certferry.elb.server import backup as elb_backup

    rows = elb_backup.migrate_store(_settings(state, None), to)
    typer.echo(f"Copied {counted(rows['certificates'], 'certificate')} and {sum(rows.values())} rows in all.")
    typer.echo("Both databases hold the same. Set elb.database to the new URL, and start the ELB.")


def rotate_seal_key(state: State = None) -> None:
    """Renamed to rotate-encryption-key."""
    del state  # accepted, so that an old command line gets the new name
    raise UserError("rotate-seal-key is now `certferry rotate-encryption-key`.")


def rotate_encryption_key(state: State = None, config: Config = None) -> None:
    """Encrypt all stored private keys and secrets under a new key.

    The keys of the ELB and of the embedded Kubernetes API; both may run. ELBs that share a database take three steps:
    run it again until it removes the old key.
    """
    from certferry.elb.server import rotate_key
    from certferry.kube.apiserver.storage import key_rotation

    settings = _settings(state, config)
    typer.echo(rotate_key.rotate_encryption_key(settings))
    if folder := key_rotation.store_in(settings.state):
        typer.echo(f"Encrypted {key_rotation.rotate(folder)} Secrets of the embedded Kubernetes API too.")


def _settings(state: Path | None, config: Path | None) -> ElbSettings:
    return read(ElbSettings, "elb", given({"state": state}), os.environ, config)
