"""``certferry rbac``: the Kubernetes permissions of the controller, ready for `kubectl apply -f -`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
import yaml

from certferry.cli.options import Config
from certferry.core.model.kubernetes import Name
from certferry.core.plural import counted
from certferry.settings import UserError


def rbac(
    mode: Annotated[str, typer.Option(help="Scope: cluster, namespaces, or named (Secrets by name).")] = "cluster",
    namespace: Annotated[list[str] | None, typer.Option(help="Only this namespace; repeatable.")] = None,
    secret: Annotated[
        list[str] | None, typer.Option(help="NAMESPACE/NAME; repeatable. Default: those that Ingresses name.")
    ] = None,
    account: Annotated[
        str, typer.Option(help="NAMESPACE/NAME of its service account.")
    ] = "certferry/certferry-controller",
    cluster: Annotated[
        str | None, typer.Option(help="Entry of “clusters” in the settings file, to find the Secrets.")
    ] = None,
    state: Annotated[Path | None, typer.Option(help="State directory of a running `certferry up`.")] = None,
    config: Config = None,
) -> None:
    """Print the controller's RBAC manifests and its Namespace, ready for `kubectl apply -f -`."""
    from certferry.controller import rbac as rules

    names = {m: m for m in rules.MODES}
    if mode not in names:
        raise UserError(f"There is no --mode {mode}: choose one of {', '.join(names)}.")
    if mode == "namespaces" and not namespace:
        raise UserError("--mode namespaces needs at least one --namespace.")
    home, name = _split(account, "--account")
    secrets = [_name(s) for s in secret or ()]
    if mode == "named" and not secrets:
        secrets = asyncio.run(_in_use(cluster, config, state, tuple(namespace or ())))
    service_account = rules.ServiceAccount(namespace=home, name=name)
    made = [
        rules.namespace(service_account),
        *rules.manifests(names[mode], service_account, tuple(namespace or ()), secrets),
    ]
    typer.echo(yaml.safe_dump_all(made, sort_keys=False), nl=False)
    if mode == "named":
        typer.echo(
            f"# {counted(len(secrets), 'Secret')}; run this again when an Ingress names another. The controller needs"
            " CERTFERRY_CONTROLLER_SECRETS=named."
        )


async def _in_use(
    cluster: str | None, config: Path | None, state: Path | None, namespaces: tuple[str, ...]
) -> list[Name]:
    """Return the Secrets that Ingresses of our class name."""
    from certferry import clusters as fleet
    from certferry.clusters.translate_options import cluster_options
    from certferry.controller.watch_scope import named_secrets
    from certferry.core.model.kubernetes import ClusterView, parse_class, parse_ingress
    from certferry.kube.client.client import INGRESS, INGRESS_CLASS, KubeError
    from certferry.kube.client.kubeconfig import KubeconfigError

    access = fleet.read(config, state).cluster(cluster)
    try:
        async with access.kube() as kube:
            classes = [parse_class(c) for c in (await kube.listing(INGRESS_CLASS)).items]
            ingresses = [
                parse_ingress(i) for n in namespaces or (None,) for i in (await kube.listing(INGRESS, n)).items
            ]
    except (KubeError, KubeconfigError) as error:
        raise UserError(f"{error} (or name the Secrets with --secret)", code=1) from None
    view = ClusterView(
        cluster_id="", classes={c.name: c for c in classes}, ingresses={i.meta.key: i for i in ingresses}
    )
    return sorted(named_secrets(view, cluster_options(access)))


def _name(text: str) -> Name:
    return Name(*_split(text, "--secret"))


def _split(text: str, flag: str) -> tuple[str, str]:
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name):
        raise UserError(f"{flag} {text} must be NAMESPACE/NAME.")
    return namespace, name
