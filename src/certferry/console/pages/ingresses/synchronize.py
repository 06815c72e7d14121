"""Synchronize Configuration: write settings of the load balancer into an Ingress that differs.

The direction is the vendor's. A different certificate changes the source to “ELB server certificate”, as there.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from starlette.responses import Response

from certferry.console.pages.ingresses.form import IDS
from certferry.console.pages.objects.diff import diff, merge_patch
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.state.objects import ListedIngress
from certferry.console.web.errors import not_found
from certferry.console.web.forms import path
from certferry.core.model.elb import Listener, ListenerDefaults
from certferry.core.model.kubernetes import Name
from certferry.core.translate.ingress_annotations import LISTENER_SETTINGS, PREFIX, Values
from certferry.core.translate.ingress_annotations import read as read_annotations
from certferry.kube.client.client import INGRESS


class Difference(NamedTuple):
    """A setting with its value in the Ingress and on the load balancer, and its annotation."""

    label: str
    ingress: str
    elb: str
    key: str
    value: str | None
    """None: the annotation is removed."""


def _desired(values: Values, field: str, defaults: ListenerDefaults) -> object:
    """Return the value of a listener setting that an Ingress wants; None if it sets none."""
    if field == "tls_ciphers_policy":
        return None if values.security_policy_id else values.tls_ciphers_policy or defaults.tls_ciphers_policy
    value = getattr(values, field)
    return defaults.http2_enable if field == "http2_enable" and value is None else value


def _on_listener(listener: Listener, field: str) -> object:
    return bool(listener.http2_enable) if field == "http2_enable" else getattr(listener, field)


_ORDER: Final = ("tls_ciphers_policy", "http2_enable", "keepalive_timeout", "client_timeout", "member_timeout")
"""The fields of listener settings in the order of the page."""


def differences(cluster: ClusterContext, ingress: ListedIngress) -> list[Difference]:
    """Return the settings in which the HTTPS listener differs from the Ingress."""
    listener = _listener(cluster, ingress)
    if listener is None:
        return []
    values, _ = read_annotations(ingress.parsed)
    defaults = cluster.options.listener_defaults(cluster.elb.state)
    settings = []
    for field in _ORDER:
        annotation, write = LISTENER_SETTINGS[field]
        wanted, has = _desired(values, field, defaults), _on_listener(listener, field)
        if wanted is not None and wanted != has and has is not None:
            text = write(has)
            settings.append(Difference(annotation.label, write(wanted), text, PREFIX + annotation.key, text))
    return [*settings, *_certificates(cluster, ingress, values, listener)]


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/synchronize: the preview."""
    ingress = requested_ingress(request, cluster)
    present = await cluster.kube.client.get(INGRESS, ingress.name.name, ingress.name.namespace)
    settings = differences(cluster, ingress)
    return request.render(
        "ingresses/synchronize.html",
        ingress=ingress,
        differences=settings,
        lines=diff(present, synchronized(present, settings)),
        version=present["metadata"].get("resourceVersion", ""),
    )


async def save(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/synchronize."""
    ingress = requested_ingress(request, cluster)
    form = await request.form()
    present = await cluster.kube.client.get(INGRESS, ingress.name.name, ingress.name.namespace)
    patch = merge_patch(present, synchronized(present, differences(cluster, ingress)))
    await cluster.merge(INGRESS, ingress.name, patch, form.text("version"))
    return request.redirect(
        list_path(cluster, ingress.name), f"Ingress {ingress.name} now has the settings of the load balancer."
    )


def synchronized(present: dict[str, Any], settings: list[Difference]) -> dict[str, Any]:
    """Return the Ingress with the load balancer's settings."""
    notes = dict(present["metadata"].get("annotations") or {})
    notes |= {d.key: d.value for d in settings if d.value is not None}
    return {**present, "metadata": {**present["metadata"], "annotations": notes}}


def requested_ingress(request: PageRequest, cluster: ClusterContext) -> ListedIngress:
    """Return the Ingress in the path. Raises ``PageError`` if there is none."""
    name = Name(request.part("namespace"), request.part("name"))
    ingress = cluster.kube.ingresses.get(name)
    if ingress is None:
        raise not_found(f"Ingress {name}", (path("clusters", cluster.name, "ingresses"), "Ingresses"))
    return ingress


def list_path(cluster: ClusterContext, name: Name) -> str:
    """Return the path of the list with Ingress `name`."""
    return f"{path('clusters', cluster.name, 'ingresses')}?namespace={name.namespace}"


def _listener(cluster: ClusterContext, ingress: ListedIngress) -> Listener | None:
    status = cluster.derived.translation.status.get(ingress.name)
    port = next((p for p, protocol in status.ports if protocol == "HTTPS"), None) if status else None
    if status is None or port is None:
        return None
    return next(
        (
            listener
            for listener in cluster.elb.state.listeners.values()
            if (listener.loadbalancer_id, listener.protocol_port) == (status.loadbalancer, port)
        ),
        None,
    )


def _certificates(
    cluster: ClusterContext, ingress: ListedIngress, values: Values, listener: Listener
) -> list[Difference]:
    """Return the server certificate as a difference if the listener has another one."""
    wanted = _wanted_id(cluster, ingress, values)
    if wanted is None or not listener.default_tls_container_ref:
        return []
    ids = tuple(dict.fromkeys((listener.default_tls_container_ref, *(listener.sni_container_refs or ()))))
    if wanted in ids:
        return []
    return [Difference("Server Certificate", _named(cluster, wanted), _named(cluster, ids[0]), IDS, ",".join(ids))]


def _wanted_id(cluster: ClusterContext, ingress: ListedIngress, values: Values) -> str | None:
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


_ONE: Final = "/ingresses/{namespace}/{name}"
PAGES: Final[tuple[Page, ...]] = (cluster_page(f"{_ONE}/synchronize", show, save, view_role="member"),)
