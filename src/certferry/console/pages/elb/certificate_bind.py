"""ELB > Certificates > More > Replace on Listeners, Bind to Listener: which certificate sits where.

A listener that a cluster's controller keeps is not touched: there the Ingresses that name the
certificate by its id are changed, and the controller follows. OK leads to the rotation's page.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from starlette.responses import Response

from certferry.console.judge.preview import ChangePreview
from certferry.console.pages.elb.certificate_edit import answered, certificate_context
from certferry.console.pages.elb.certificates import found, list_path
from certferry.console.pages.elb.listener import follow, managed_by_controller
from certferry.console.pages.ingresses.form import IDS
from certferry.console.pages.ingresses.synchronize import write
from certferry.console.pages.ingresses.update import label, selectable
from certferry.console.pages.request import Page, PageRequest
from certferry.console.state.cluster_view import ClusterContext, DerivedState
from certferry.console.state.objects import ListedIngress
from certferry.console.state.rotations import TrackedRotation
from certferry.console.web.errors import FormErrors
from certferry.console.web.forms import path, refuse
from certferry.core import checks
from certferry.core.diagnosis.usage import Use
from certferry.core.model.elb import Certificate, Listener
from certferry.core.translate.ingress_annotations import read as read_annotations
from certferry.elb.client.client import LISTENERS
from certferry.kube.client.client import INGRESS

HTTPS: Final = ("HTTPS", "TERMINATED_HTTPS")


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where a certificate is to give way, and where that cannot be done."""

    listeners: tuple[Listener, ...]
    """Changed on the load balancer."""
    ingresses: tuple[ListedIngress, ...]
    """Their annotation is changed."""
    others: tuple[Use, ...]
    """Kept by a controller, and no Ingress of this cluster names the certificate: they stay."""


async def show_replace(request: PageRequest) -> Response:
    """GET …/{id}/replace."""
    cluster = await request.cluster_context()
    certificate = found(request, cluster)
    return request.render(
        "elb_certificates/replace.html",
        cluster=cluster,
        certificate=certificate,
        places=places(cluster, certificate),
        state=cluster.elb.state,
        preview=ChangePreview(present=certificate.chain),
        certificates=[
            (c.id, label(c.name or c.id, c.chain))
            for c in selectable(cluster.elb.state.certificates.values())
            if c.id != certificate.id
        ],
    )


async def check(request: PageRequest) -> Response:
    """POST …/{id}/replace/check: what is to be said of the choice."""
    cluster = await request.cluster_context()
    certificate = found(request, cluster)
    chosen = cluster.elb.state.certificates.get((await request.form()).text("certificate"))
    return request.render(
        "ingresses/checks.html", cluster=cluster, preview=_check(cluster, certificate, chosen)
    )


async def replace(request: PageRequest) -> Response:
    """POST …/{id}/replace."""
    cluster = await request.cluster_context()
    certificate = found(request, cluster)
    chosen = cluster.elb.state.certificates.get((await request.form()).text("certificate"))
    if chosen is None or chosen.type != "server" or chosen.chain is None or chosen.id == certificate.id:
        raise FormErrors({"certificate": "Select a server certificate, or create one."})
    where = places(cluster, certificate)
    preview = _check(cluster, certificate, chosen)
    refuse({"certificate": preview.held[0]} if preview.held else {})
    if not (where.listeners or where.ingresses):
        raise FormErrors({"": "There is no listener on which it can be replaced here."}, 409)
    if not chosen.domain and any(certificate.id in (it.sni_container_refs or ()) for it in where.listeners):
        raise FormErrors({"certificate": "An SNI certificate needs a domain on the load balancer."})
    touched = {use.listener for use in cluster.derived.by_certificate.get(certificate.id, ())}
    for listener in where.listeners:
        await answered(
            cluster.elb.client.update(LISTENERS, listener.id, _seats(listener, certificate.id, chosen.id))
        )
    for ingress in where.ingresses:
        await _rename(cluster, ingress, certificate.id, chosen.id)
    await cluster.elb.refresh()
    old, new = certificate.id, chosen.id
    title = f"{certificate.name or old} → {chosen.name or new}"
    rotation = TrackedRotation(title, list_path(cluster), [chosen.chain], datetime.now(UTC))

    def uses(derived: DerivedState) -> list[Use]:
        return [u for u in derived.uses if u.listener in touched and u.certificate in (old, new)]

    request.console.rotations.start(cluster, rotation, uses)
    return request.redirect(
        path("clusters", cluster.name, "rotations", rotation.id), "The certificate is replaced."
    )


async def show_bind(request: PageRequest) -> Response:
    """GET …/{id}/bind."""
    cluster = await request.cluster_context()
    state = cluster.elb.state
    free = [it for it in _https(cluster) if not managed_by_controller(it)]
    names = {b.id: b.name or b.id for b in state.loadbalancers.values()}
    return request.render(
        "elb_certificates/bind.html",
        cluster=cluster,
        certificate=found(request, cluster),
        listeners=[
            (it.id, f"{it.name or it.id} ({names[it.loadbalancer_id]} {it.protocol}/{it.protocol_port})")
            for it in free
        ],
    )


async def bind(request: PageRequest) -> Response:
    """POST …/{id}/bind."""
    cluster = await request.cluster_context()
    certificate, form = found(request, cluster), await request.form()
    listener = next(
        (it for it in _https(cluster) if it.id == form.text("listener") and not managed_by_controller(it)),
        None,
    )
    if listener is None:
        raise FormErrors({"listener": "Select a listener that no cluster's controller keeps."})
    sni = form.text("seat") == "sni"
    if sni and not certificate.domain:
        raise FormErrors({"seat": "An SNI certificate needs a domain: give it one with Modify."})
    if certificate.type != "server" or certificate.chain is None:
        raise FormErrors({"": "This is no server certificate."})
    before = cluster.elb.state.certificates.get(listener.default_tls_container_ref or "")
    if not sni and (
        it := checks.objection(certificate.chain, before.chain if before else None, (), datetime.now(UTC))
    ):
        raise FormErrors({"seat": f"It cannot take the context of the one in service: {it.sentence}."})
    refs = list(listener.sni_container_refs or ())
    changes: dict[str, Any] = (
        {"sni_container_refs": [*refs, certificate.id] if certificate.id not in refs else refs}
        if sni
        else {"default_tls_container_ref": certificate.id}
    )
    await answered(cluster.elb.client.update(LISTENERS, listener.id, changes))
    await cluster.elb.refresh()
    return request.redirect(
        follow(request, cluster, listener, [certificate]),
        f"Certificate {certificate.name or certificate.id} is bound.",
    )


def places(cluster: ClusterContext, certificate: Certificate) -> Places:
    """Where `certificate` is, and by what."""
    uses = cluster.derived.by_certificate.get(certificate.id, ())
    naming = tuple(
        ingress
        for _, ingress in sorted(cluster.kube.ingresses.items())
        if certificate.id in (read_annotations(ingress.parsed)[0].tls_certificate_ids or ())
    )
    names = {ingress.name for ingress in naming}
    found = {use.listener: cluster.elb.state.listeners[use.listener] for use in uses}
    return Places(
        listeners=tuple(it for it in found.values() if not managed_by_controller(it)),
        ingresses=naming,
        others=tuple(
            u for u in uses if managed_by_controller(found[u.listener]) and names.isdisjoint(u.ingresses)
        ),
    )


def _check(cluster: ClusterContext, certificate: Certificate, chosen: Certificate | None) -> ChangePreview:
    new = chosen.chain if chosen and chosen.id != certificate.id else None
    if new is None:
        return ChangePreview(present=certificate.chain)
    now, hosts = datetime.now(UTC), certificate_context(cluster, certificate).hosts
    refused = checks.refusal(new, certificate.chain, hosts, now)
    preview = checks.findings(new, certificate.chain, hosts, now)
    return ChangePreview(
        present=certificate.chain,
        chosen=new,
        held=(f"It cannot take the context of the one in service: {refused.sentence}.",) if refused else (),
        findings=tuple(f for f in preview if f != refused),
    )


def _seats(listener: Listener, old: str, new: str) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if listener.default_tls_container_ref == old:
        changes["default_tls_container_ref"] = new
    if old in (listener.sni_container_refs or ()):
        changes["sni_container_refs"] = _instead(listener.sni_container_refs or (), old, new)
    return changes


async def _rename(cluster: ClusterContext, ingress: ListedIngress, old: str, new: str) -> None:
    """Let an Ingress name `new` where it names `old`."""
    present = await cluster.kube.client.get(INGRESS, ingress.name.name, ingress.name.namespace)
    meta = present["metadata"]
    ids = [i.strip() for i in (meta.get("annotations") or {}).get(IDS, "").split(",") if i.strip()]
    patch = {"metadata": {"annotations": {IDS: ",".join(_instead(ids, old, new))}}}
    await write(cluster, ingress.name, patch, meta.get("resourceVersion", ""))


def _instead(ids: Any, old: str, new: str) -> list[str]:
    return list(dict.fromkeys(new if ref == old else ref for ref in ids))


def _https(cluster: ClusterContext) -> list[Listener]:
    found = (it for it in cluster.elb.state.listeners.values() if it.protocol in HTTPS)
    return sorted(found, key=lambda it: (it.loadbalancer_id, it.protocol_port, it.id))


_ONE: Final = "/clusters/{cluster}/elb/certificates/{id}"
PAGES: Final[tuple[Page, ...]] = (
    Page(f"{_ONE}/replace", show_replace, replace, view_role="member"),
    Page(f"{_ONE}/replace/check", None, check),
    Page(f"{_ONE}/bind", show_bind, bind, view_role="member"),
)
