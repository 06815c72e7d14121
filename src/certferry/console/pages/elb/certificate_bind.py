"""ELB > Certificates > More > Replace on Listeners, Bind to Listener.

A listener that a controller manages is not changed directly: the Ingresses that name the certificate by its id
are changed, and the controller follows. OK leads to the rotation's page.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from starlette.responses import Response

from certferry.console.judge.preview import ChangePreview
from certferry.console.pages.elb.certificate_edit import certificate_context, elb_request
from certferry.console.pages.elb.certificates import list_path, requested_certificate
from certferry.console.pages.elb.listener import managed_by_controller, track
from certferry.console.pages.ingresses.form import IDS
from certferry.console.pages.ingresses.update import label, selectable
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext, DerivedState
from certferry.console.state.objects import ListedIngress
from certferry.console.state.rotations import TrackedRotation
from certferry.console.web.errors import FormErrors
from certferry.console.web.forms import refuse
from certferry.core import checks
from certferry.core.diagnosis.usage import Use
from certferry.core.model.elb import ENCRYPTED, Certificate, Listener
from certferry.core.translate.ingress_annotations import read as read_annotations
from certferry.elb.client.client import LISTENERS
from certferry.kube.client.client import INGRESS


class Replacement(msgspec.Struct, frozen=True, kw_only=True):
    """Listeners and Ingresses in which a certificate is to be replaced."""

    listeners: tuple[Listener, ...]
    """Changed on the load balancer."""
    ingresses: tuple[ListedIngress, ...]
    """Ingresses whose annotation is changed."""
    others: tuple[Use, ...]
    """Unchanged: managed by a controller, and no Ingress of this cluster names the certificate."""


async def show_replace(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/{id}/replace."""
    certificate = requested_certificate(request, cluster)
    return request.render(
        "elb_certificates/replace.html",
        certificate=certificate,
        replacement=_replacement(cluster, certificate),
        state=cluster.elb.state,
        preview=ChangePreview(present=certificate.chain),
        certificates=[
            (c.id, label(c.name or c.id, c.chain))
            for c in selectable(cluster.elb.state.certificates.values())
            if c.id != certificate.id
        ],
    )


async def check(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/{id}/replace/check: the checks of the choice."""
    certificate = requested_certificate(request, cluster)
    chosen = cluster.elb.state.certificates.get((await request.form()).text("certificate"))
    return request.render("ingresses/checks.html", preview=_check(cluster, certificate, chosen))


async def replace(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/{id}/replace."""
    certificate = requested_certificate(request, cluster)
    chosen = cluster.elb.state.certificates.get((await request.form()).text("certificate"))
    if chosen is None or chosen.type != "server" or chosen.chain is None or chosen.id == certificate.id:
        raise FormErrors({"certificate": "Select a server certificate, or create one."})
    replacement = _replacement(cluster, certificate)
    preview = _check(cluster, certificate, chosen)
    refuse({"certificate": preview.rejected[0]} if preview.rejected else {})
    if not (replacement.listeners or replacement.ingresses):
        raise FormErrors({"": "There is no listener on which it can be replaced."}, 409)
    if not chosen.domain and any(
        certificate.id in (listener.sni_container_refs or ()) for listener in replacement.listeners
    ):
        raise FormErrors({"certificate": "An SNI certificate needs a domain on the load balancer."})
    listeners = {use.listener for use in cluster.derived.by_certificate.get(certificate.id, ())}
    for listener in replacement.listeners:
        await elb_request(
            cluster.elb.client.update(LISTENERS, listener.id, _slot_changes(listener, certificate.id, chosen.id))
        )
    for ingress in replacement.ingresses:
        await _rename(cluster, ingress, certificate.id, chosen.id)
    await cluster.elb.refresh()
    old, new = certificate.id, chosen.id
    title = f"{certificate.name or old} → {chosen.name or new}"
    rotation = TrackedRotation(title, list_path(cluster), [chosen.chain], datetime.now(UTC))

    def uses(derived: DerivedState) -> list[Use]:
        return [u for u in derived.uses if u.listener in listeners and u.certificate in (old, new)]

    to = request.track(cluster, rotation, uses)
    return request.redirect(to, "The certificate was replaced.")


async def show_bind(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/{id}/bind."""
    state = cluster.elb.state
    free = [listener for listener in _https(cluster) if not managed_by_controller(listener)]
    names = {b.id: b.name or b.id for b in state.loadbalancers.values()}
    return request.render(
        "elb_certificates/bind.html",
        certificate=requested_certificate(request, cluster),
        listeners=[
            (
                listener.id,
                f"{listener.name or listener.id} ({names[listener.loadbalancer_id]} "
                f"{listener.protocol}/{listener.protocol_port})",
            )
            for listener in free
        ],
    )


async def bind(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/{id}/bind."""
    certificate, form = requested_certificate(request, cluster), await request.form()
    listener = next(
        (li for li in _https(cluster) if li.id == form.text("listener") and not managed_by_controller(li)), None
    )
    if listener is None:
        raise FormErrors({"listener": "Select a listener that no controller manages."})
    sni = form.text("slot") == "sni"
    if sni and not certificate.domain:
        raise FormErrors({"slot": "An SNI certificate needs a domain. Add one with Modify."})
    if certificate.type != "server" or certificate.chain is None:
        raise FormErrors({"": "This is no server certificate."})
    before = cluster.elb.state.certificates.get(listener.default_tls_container_ref or "")
    if not sni and (
        objection := checks.objection(
            certificate.chain, before.chain if before else None, (), datetime.now(UTC), cluster.elb.state.compromised
        )
    ):
        raise FormErrors({"slot": f"It cannot take the context of the one in service: {objection.sentence}."})
    refs = list(listener.sni_container_refs or ())
    changes: dict[str, Any] = (
        {"sni_container_refs": [*refs, certificate.id] if certificate.id not in refs else refs}
        if sni
        else {"default_tls_container_ref": certificate.id}
    )
    await elb_request(cluster.elb.client.update(LISTENERS, listener.id, changes))
    await cluster.elb.refresh()
    return request.redirect(
        track(request, cluster, listener, [certificate]), f"Certificate {certificate.name or certificate.id} was bound."
    )


def _replacement(cluster: ClusterContext, certificate: Certificate) -> Replacement:
    """Return where `certificate` is used, and how it is replaced there."""
    uses = cluster.derived.by_certificate.get(certificate.id, ())
    naming = tuple(
        ingress
        for _, ingress in sorted(cluster.kube.ingresses.items())
        if certificate.id in (read_annotations(ingress.parsed)[0].tls_certificate_ids or ())
    )
    names = {ingress.name for ingress in naming}
    listeners = {use.listener: cluster.elb.state.listeners[use.listener] for use in uses}
    return Replacement(
        listeners=tuple(li for li in listeners.values() if not managed_by_controller(li)),
        ingresses=naming,
        others=tuple(u for u in uses if managed_by_controller(listeners[u.listener]) and names.isdisjoint(u.ingresses)),
    )


def _check(cluster: ClusterContext, certificate: Certificate, chosen: Certificate | None) -> ChangePreview:
    new = chosen.chain if chosen and chosen.id != certificate.id else None
    if new is None:
        return ChangePreview(present=certificate.chain)
    now, hosts = datetime.now(UTC), certificate_context(cluster, certificate).hosts
    marks = cluster.elb.state.compromised
    refusal = checks.refusal(new, certificate.chain, hosts, now, compromised=marks)
    findings = checks.findings(new, certificate.chain, hosts, now, compromised=marks)
    return ChangePreview(
        present=certificate.chain,
        chosen=new,
        rejected=(f"It cannot take the context of the one in service: {refusal.sentence}.",) if refusal else (),
        findings=tuple(f for f in findings if f != refusal),
    )


def _slot_changes(listener: Listener, old: str, new: str) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if listener.default_tls_container_ref == old:
        changes["default_tls_container_ref"] = new
    if old in (listener.sni_container_refs or ()):
        changes["sni_container_refs"] = _replaced(listener.sni_container_refs or (), old, new)
    return changes


async def _rename(cluster: ClusterContext, ingress: ListedIngress, old: str, new: str) -> None:
    """Replace `old` by `new` in the annotation of an Ingress."""
    present = await cluster.kube.client.get(INGRESS, ingress.name.name, ingress.name.namespace)
    meta = present["metadata"]
    ids = [i.strip() for i in (meta.get("annotations") or {}).get(IDS, "").split(",") if i.strip()]
    patch = {"metadata": {"annotations": {IDS: ",".join(_replaced(ids, old, new))}}}
    await cluster.merge(INGRESS, ingress.name, patch, meta.get("resourceVersion", ""))


def _replaced(ids: Any, old: str, new: str) -> list[str]:
    return list(dict.fromkeys(new if ref == old else ref for ref in ids))


def _https(cluster: ClusterContext) -> list[Listener]:
    listeners = (li for li in cluster.elb.state.listeners.values() if li.protocol in ENCRYPTED)
    return sorted(listeners, key=lambda li: (li.loadbalancer_id, li.protocol_port, li.id))


_ONE: Final = "/elb/certificates/{id}"
PAGES: Final[tuple[Page, ...]] = (
    cluster_page(f"{_ONE}/replace", show_replace, replace, view_role="member"),
    cluster_page(f"{_ONE}/replace/check", None, check),
    cluster_page(f"{_ONE}/bind", show_bind, bind, view_role="member"),
)
