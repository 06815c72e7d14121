"""First objects: namespaces, IngressClass, default load balancer, and the demo, created through the public APIs.

An object that exists is never overwritten.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from certferry.core.model.elb import LoadBalancer, convert
from certferry.core.translate.listener_claims import CONTROLLER
from certferry.demo import ca, objects
from certferry.elb.client.client import LOADBALANCERS, ElbClient, ElbError
from certferry.elb.client.credentials import Credentials
from certferry.kube.client.client import INGRESS_CLASS, NAMESPACE, Kind, KubeClient, KubeError
from certferry.kube.client.kubeconfig import load
from certferry.up.free_ports import LOOPBACK

DEMO_DAYS: Final = 5
"""Until the demo's certificate expires: soon enough to be worth renewing."""


async def load_balancer(url: str, credentials: Credentials, identity: str) -> LoadBalancer:
    """Return the load balancer with this id, or a new one if absent. Raises ElbError."""
    async with ElbClient(url, credentials) as client:
        wire = await _get(client, identity) if identity else None
        if wire is None:
            wire = await client.create(LOADBALANCERS, {"name": "certferry", "guaranteed": True})
    return _loadbalancer(wire)


async def ingress_class(kubeconfig: Path) -> None:
    """Create the IngressClass ``cce`` in an existing cluster if absent. Raises KubeError, UserError."""
    async with KubeClient(load(kubeconfig)) as client:
        try:
            await client.get(INGRESS_CLASS, "cce")
        except KubeError as error:
            if error.status != 404:
                raise
            await _create_if_absent(client, INGRESS_CLASS, _class())


async def classes(kubeconfig: Path) -> None:
    """Create the default IngressClass ``cce`` and the namespaces that every cluster has."""
    async with KubeClient(load(kubeconfig)) as client:
        for name in ("default", "kube-system"):
            await _create_if_absent(client, NAMESPACE, _named("v1", "Namespace", name))
        default = _class()
        default["metadata"]["annotations"] = {"ingressclass.kubernetes.io/is-default-class": "true"}
        await _create_if_absent(client, INGRESS_CLASS, default)


async def demo(kubeconfig: Path, folder: Path, backend_port: int) -> None:
    """Create the demo's objects; `folder` has its CA."""
    now = datetime.now(UTC)
    authority = ca.open_authority(folder, now)
    pair = ca.good(authority, ca.HOST, now, DEMO_DAYS)
    async with KubeClient(load(kubeconfig)) as client:
        for kind, manifest in objects.placed(pair, LOOPBACK, backend_port):
            await _create_if_absent(client, kind, manifest)


async def _create_if_absent(client: KubeClient, kind: Kind, manifest: dict[str, Any]) -> None:
    """Create an object if absent."""
    try:
        await client.create(kind, manifest, manifest["metadata"].get("namespace"))
    except KubeError as error:
        if error.status != 409:
            raise


async def _get(client: ElbClient, identity: str) -> dict[str, Any] | None:
    try:
        return await client.get(LOADBALANCERS, identity)
    except ElbError as error:
        if error.status != 404:
            raise
    return None


def _loadbalancer(wire: dict[str, Any]) -> LoadBalancer:
    shifts = wire.get("certferry") or {}
    fields = {"id": wire["id"], "vip_address": wire["vip_address"], "name": wire.get("name") or ""}
    loadbalancer: LoadBalancer = convert(LoadBalancer, {**fields, **shifts})
    return loadbalancer


def _class() -> dict[str, Any]:
    return _named("networking.k8s.io/v1", "IngressClass", "cce") | {"spec": {"controller": CONTROLLER}}


def _named(version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}}
