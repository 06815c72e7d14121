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
from certferry.console.pages.elb.certificate_edit import answered, place_of
from certferry.console.pages.elb.certificates import found, list_path
from certferry.console.pages.elb.listener import follow, kept
from certferry.console.pages.ingresses.form import IDS
from certferry.console.pages.ingresses.synchronize import write
from certferry.console.pages.ingresses.update import label, selectable
from certferry.console.state.cluster_view import ClusterContext, DerivedState
from certferry.console.state.objects import ListedIngress
from certferry.console.state.rotations import TrackedRotation
from certferry.console.web.errors import FormErrors
from certferry.console.web.page import Page
from certferry.console.web.request import PageRequest, path, refuse
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


async def show_replace(visit: PageRequest) -> Response:
    """GET …/{id}/replace."""
    desk = await visit.cluster_context()
    certificate = found(visit, desk)
    return visit.render(
        "elb_certificates/replace.html",
        desk=desk,
        certificate=certificate,
        places=places(desk, certificate),
        state=desk.elb.state,
        told=ChangePreview(present=certificate.chain),
        certificates=[
            (c.id, label(c.name or c.id, c.chain))
            for c in selectable(desk.elb.state.certificates.values())
            if c.id != certificate.id
        ],
    )


async def check(visit: PageRequest) -> Response:
    """POST …/{id}/replace/check: what is to be said of the choice."""
    desk = await visit.cluster_context()
    certificate = found(visit, desk)
    chosen = desk.elb.state.certificates.get((await visit.form()).text("certificate"))
    return visit.render("ingresses/checks.html", desk=desk, told=_judged(desk, certificate, chosen))


async def replace(visit: PageRequest) -> Response:
    """POST …/{id}/replace."""
    desk = await visit.cluster_context()
    certificate = found(visit, desk)
    chosen = desk.elb.state.certificates.get((await visit.form()).text("certificate"))
    if chosen is None or chosen.type != "server" or chosen.chain is None or chosen.id == certificate.id:
        raise FormErrors({"certificate": "Select a server certificate, or create one."})
    where = places(desk, certificate)
    told = _judged(desk, certificate, chosen)
    refuse({"certificate": told.held[0]} if told.held else {})
    if not (where.listeners or where.ingresses):
        raise FormErrors({"": "There is no listener on which it can be replaced here."}, 409)
    if not chosen.domain and any(certificate.id in (it.sni_container_refs or ()) for it in where.listeners):
        raise FormErrors({"certificate": "An SNI certificate needs a domain on the load balancer."})
    touched = {use.listener for use in desk.derived.by_certificate.get(certificate.id, ())}
    for listener in where.listeners:
        await answered(
            desk.elb.client.update(LISTENERS, listener.id, _seats(listener, certificate.id, chosen.id))
        )
    for thing in where.ingresses:
        await _rename(desk, thing, certificate.id, chosen.id)
    await desk.elb.refresh()
    old, new = certificate.id, chosen.id
    title = f"{certificate.name or old} → {chosen.name or new}"
    rotation = TrackedRotation(title, list_path(desk), [chosen.chain], datetime.now(UTC))

    def uses(derived: DerivedState) -> list[Use]:
        return [u for u in derived.uses if u.listener in touched and u.certificate in (old, new)]

    visit.console.rotations.start(desk, rotation, uses)
    return visit.redirect(
        path("clusters", desk.name, "rotations", rotation.id), "The certificate is replaced."
    )


async def show_bind(visit: PageRequest) -> Response:
    """GET …/{id}/bind."""
    desk = await visit.cluster_context()
    state = desk.elb.state
    free = [it for it in _https(desk) if not kept(it)]
    names = {b.id: b.name or b.id for b in state.loadbalancers.values()}
    return visit.render(
        "elb_certificates/bind.html",
        desk=desk,
        certificate=found(visit, desk),
        listeners=[
            (it.id, f"{it.name or it.id} ({names[it.loadbalancer_id]} {it.protocol}/{it.protocol_port})")
            for it in free
        ],
    )


async def bind(visit: PageRequest) -> Response:
    """POST …/{id}/bind."""
    desk = await visit.cluster_context()
    certificate, form = found(visit, desk), await visit.form()
    listener = next((it for it in _https(desk) if it.id == form.text("listener") and not kept(it)), None)
    if listener is None:
        raise FormErrors({"listener": "Select a listener that no cluster's controller keeps."})
    sni = form.text("seat") == "sni"
    if sni and not certificate.domain:
        raise FormErrors({"seat": "An SNI certificate needs a domain: give it one with Modify."})
    if certificate.type != "server" or certificate.chain is None:
        raise FormErrors({"": "This is no server certificate."})
    before = desk.elb.state.certificates.get(listener.default_tls_container_ref or "")
    if not sni and (
        it := checks.objection(certificate.chain, before.chain if before else None, (), datetime.now(UTC))
    ):
        raise FormErrors({"seat": f"It cannot take the place of the one in service: {it.sentence}."})
    refs = list(listener.sni_container_refs or ())
    changes: dict[str, Any] = (
        {"sni_container_refs": [*refs, certificate.id] if certificate.id not in refs else refs}
        if sni
        else {"default_tls_container_ref": certificate.id}
    )
    await answered(desk.elb.client.update(LISTENERS, listener.id, changes))
    await desk.elb.refresh()
    return visit.redirect(
        follow(visit, desk, listener, [certificate]),
        f"Certificate {certificate.name or certificate.id} is bound.",
    )


def places(desk: ClusterContext, certificate: Certificate) -> Places:
    """Where `certificate` is, and by what."""
    uses = desk.derived.by_certificate.get(certificate.id, ())
    naming = tuple(
        thing
        for _, thing in sorted(desk.kube.ingresses.items())
        if certificate.id in (read_annotations(thing.ingress)[0].tls_certificate_ids or ())
    )
    names = {thing.name for thing in naming}
    found = {use.listener: desk.elb.state.listeners[use.listener] for use in uses}
    return Places(
        listeners=tuple(it for it in found.values() if not kept(it)),
        ingresses=naming,
        others=tuple(u for u in uses if kept(found[u.listener]) and names.isdisjoint(u.ingresses)),
    )


def _judged(desk: ClusterContext, certificate: Certificate, chosen: Certificate | None) -> ChangePreview:
    new = chosen.chain if chosen and chosen.id != certificate.id else None
    if new is None:
        return ChangePreview(present=certificate.chain)
    now, hosts = datetime.now(UTC), place_of(desk, certificate).hosts
    refused = checks.refusal(new, certificate.chain, hosts, now)
    told = checks.findings(new, certificate.chain, hosts, now)
    return ChangePreview(
        present=certificate.chain,
        chosen=new,
        held=(f"It cannot take the place of the one in service: {refused.sentence}.",) if refused else (),
        findings=tuple(f for f in told if f != refused),
    )


def _seats(listener: Listener, old: str, new: str) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if listener.default_tls_container_ref == old:
        changes["default_tls_container_ref"] = new
    if old in (listener.sni_container_refs or ()):
        changes["sni_container_refs"] = _instead(listener.sni_container_refs or (), old, new)
    return changes


async def _rename(desk: ClusterContext, thing: ListedIngress, old: str, new: str) -> None:
    """Let an Ingress name `new` where it names `old`."""
    present = await desk.kube.client.get(INGRESS, thing.name.name, thing.name.namespace)
    meta = present["metadata"]
    ids = [i.strip() for i in (meta.get("annotations") or {}).get(IDS, "").split(",") if i.strip()]
    patch = {"metadata": {"annotations": {IDS: ",".join(_instead(ids, old, new))}}}
    await write(desk, thing.name, patch, meta.get("resourceVersion", ""))


def _instead(ids: Any, old: str, new: str) -> list[str]:
    return list(dict.fromkeys(new if ref == old else ref for ref in ids))


def _https(desk: ClusterContext) -> list[Listener]:
    found = (it for it in desk.elb.state.listeners.values() if it.protocol in HTTPS)
    return sorted(found, key=lambda it: (it.loadbalancer_id, it.protocol_port, it.id))


_ONE: Final = "/clusters/{cluster}/elb/certificates/{id}"
PAGES: Final[tuple[Page, ...]] = (
    Page(f"{_ONE}/replace", show_replace, replace, view_role="member"),
    Page(f"{_ONE}/replace/check", None, check),
    Page(f"{_ONE}/bind", show_bind, bind, view_role="member"),
)
