"""Synchronize Configuration: what the load balancer has differs from what an Ingress says.

The direction is the vendor's: what the load balancer has is written into the Ingress. A certificate
that differs makes the source “ELB server certificate”, as there.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from starlette.responses import Response

from certferry.console.pages.ingresses.form import IDS
from certferry.console.pages.objects.diff import diff, merge_patch
from certferry.console.pages.request import Page, PageRequest
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.state.objects import ListedIngress
from certferry.console.web.errors import FormErrors, not_found
from certferry.console.web.forms import path
from certferry.core.model.elb import Listener
from certferry.core.model.kubernetes import Name
from certferry.core.translate.ingress_annotations import LISTENER_SETTINGS, PREFIX, Values
from certferry.core.translate.ingress_annotations import read as read_annotations
from certferry.core.translate.listener_options import DEFAULT_TLS_POLICY
from certferry.kube.client.client import INGRESS, KubeError


class Difference(NamedTuple):
    """A setting: what the Ingress says, what the load balancer has, and the annotation that says so."""

    label: str
    ingress: str
    elb: str
    key: str
    value: str | None
    """None: the annotation goes away."""


def _desired(values: Values, field: str) -> object:
    """Return the value of a listener setting that an Ingress wants; None if it sets none."""
    if field == "tls_ciphers_policy":
        return None if values.security_policy_id else values.tls_ciphers_policy or DEFAULT_TLS_POLICY
    return bool(values.http2_enable) if field == "http2_enable" else getattr(values, field)


def _on_listener(listener: Listener, field: str) -> object:
    return bool(listener.http2_enable) if field == "http2_enable" else getattr(listener, field)


_ORDER: Final = (
    "tls_ciphers_policy",
    "http2_enable",
    "keepalive_timeout",
    "client_timeout",
    "member_timeout",
)
"""The fields of listener settings in the order of the page."""


def differences(cluster: ClusterContext, ingress: ListedIngress) -> list[Difference]:
    """Where the HTTPS listener of an Ingress has something else than the Ingress says."""
    listener = _listener(cluster, ingress)
    if listener is None:
        return []
    values, _ = read_annotations(ingress.parsed)
    found = []
    for field in _ORDER:
        annotation, write = LISTENER_SETTINGS[field]
        want, has = _desired(values, field), _on_listener(listener, field)
        if want is not None and want != has and has is not None:
            text = write(has)
            found.append(Difference(annotation.label, write(want), text, PREFIX + annotation.key, text))
    return [*found, *_certificates(cluster, ingress, values, listener)]


async def show(request: PageRequest) -> Response:
    """GET …/synchronize: the preview."""
    cluster = await request.cluster_context()
    ingress = found(request, cluster)
    present = await cluster.kube.client.get(INGRESS, ingress.name.name, ingress.name.namespace)
    there = differences(cluster, ingress)
    return request.render(
        "ingresses/synchronize.html",
        cluster=cluster,
        ingress=ingress,
        differences=there,
        lines=diff(present, synchronized(present, there)),
        version=present["metadata"].get("resourceVersion", ""),
    )


async def save(request: PageRequest) -> Response:
    """POST …/synchronize."""
    cluster = await request.cluster_context()
    ingress = found(request, cluster)
    form = await request.form()
    present = await cluster.kube.client.get(INGRESS, ingress.name.name, ingress.name.namespace)
    patch = merge_patch(present, synchronized(present, differences(cluster, ingress)))
    await write(cluster, ingress.name, patch, form.text("version"))
    return request.redirect(
        list_path(cluster, ingress.name), f"Ingress {ingress.name} says now what the load balancer has."
    )


def synchronized(present: dict[str, Any], there: list[Difference]) -> dict[str, Any]:
    """The Ingress with the load balancer's settings."""
    notes = dict(present["metadata"].get("annotations") or {})
    notes |= {d.key: d.value for d in there if d.value is not None}
    return {**present, "metadata": {**present["metadata"], "annotations": notes}}


def found(request: PageRequest, cluster: ClusterContext) -> ListedIngress:
    """The Ingress in the path. Raises ``Stop``."""
    name = Name(request.part("namespace"), request.part("name"))
    ingress = cluster.kube.ingresses.get(name)
    if ingress is None:
        raise not_found(f"Ingress {name}", (path("clusters", cluster.name, "ingresses"), "Ingresses"))
    return ingress


async def write(cluster: ClusterContext, name: Name, patch: dict[str, Any], version: str) -> None:
    """Merge `patch` into the Ingress as it was at `version`. Raises ``Refusal`` when it changed since."""
    patch = (
        {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": version}} if version else patch
    )
    try:
        async with cluster.writing() as kube:
            await kube.merge(INGRESS, name.name, patch, name.namespace)
    except KubeError as error:
        if error.status == 409:
            sentence = "Somebody changed this Ingress meanwhile. Close this dialog and open it again."
            raise FormErrors({"": sentence}, 409) from None
        raise


def list_path(cluster: ClusterContext, name: Name) -> str:
    """The list that an Ingress stands in."""
    return f"{path('clusters', cluster.name, 'ingresses')}?namespace={name.namespace}"


def _listener(cluster: ClusterContext, ingress: ListedIngress) -> Listener | None:
    status = cluster.derived.translation.status.get(ingress.name)
    port = next((p for p, protocol in status.ports if protocol == "HTTPS"), None) if status else None
    if status is None or port is None:
        return None
    return next(
        (
            it
            for it in cluster.elb.state.listeners.values()
            if (it.loadbalancer_id, it.protocol_port) == (status.loadbalancer, port)
        ),
        None,
    )


def _certificates(
    cluster: ClusterContext, ingress: ListedIngress, values: Values, listener: Listener
) -> list[Difference]:
    """The server certificate, where the Ingress asks for another one than the listener has."""
    asked = _asked(cluster, ingress, values)
    if asked is None or not listener.default_tls_container_ref:
        return []
    ids = tuple(dict.fromkeys((listener.default_tls_container_ref, *(listener.sni_container_refs or ()))))
    if asked in ids:
        return []
    return [
        Difference("Server Certificate", _named(cluster, asked), _named(cluster, ids[0]), IDS, ",".join(ids))
    ]


def _asked(cluster: ClusterContext, ingress: ListedIngress, values: Values) -> str | None:
    if values.tls_certificate_ids:
        return values.tls_certificate_ids[0]
    entries = ingress.parsed.tls
    if not entries:
        return None
    server = next((e for e in entries if not e.hosts), entries[0])
    uses = cluster.derived.by_secret.get(Name(ingress.name.namespace, server.secret), ())
    return uses[0].certificate if uses else None


def _named(cluster: ClusterContext, identity: str) -> str:
    certificate = cluster.elb.state.certificates.get(identity)
    return certificate.name or identity if certificate else identity


_ONE: Final = "/clusters/{cluster}/ingresses/{namespace}/{name}"
PAGES: Final[tuple[Page, ...]] = (Page(f"{_ONE}/synchronize", show, save, view_role="member"),)
