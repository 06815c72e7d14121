"""``certferry kubeconfig``: a kubeconfig for one user, with a client certificate instead of a token."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated

import typer

from certferry.cli.options import State
from certferry.settings import UserError, state_default


def kubeconfig(
    user: Annotated[str, typer.Option(help="User name for the API server.")],
    role: Annotated[str, typer.Option(help="admin, controller, edit, or view (no Secrets).")] = "view",
    state: State = None,
) -> None:
    """Print a kubeconfig for the embedded Kubernetes API. Its client certificate is valid for 90 days."""
    from certferry.kube.apiserver.auth import kubeconfigs as access
    from certferry.kube.apiserver.auth.auth import ROLES
    from certferry.runtime.private_ca import PrivateCaError

    if role not in ROLES:
        raise UserError(f"There is no --role {role}: choose one of {', '.join(ROLES)}.")
    home = (state or state_default(os.environ)).expanduser()
    try:
        made = access.certificate_kubeconfig(home, user, role, datetime.now(UTC))
    except FileNotFoundError as missing:
        raise UserError(
            f"There is no embedded Kubernetes API in {home} ({missing.filename} is missing): "
            "start `certferry up` or `certferry kube` there first, or name another --state."
        ) from None
    except PrivateCaError as damaged:
        raise UserError(str(damaged)) from None
    typer.echo(made, nl=False)
