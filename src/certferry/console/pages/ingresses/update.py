"""Services & Ingresses > Ingresses > More > Update: procedure 2, and the other fields of the form.

OK writes the annotation ``tls-certificate-ids`` or removes it, and leaves spec.tls. The rotation's page follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from starlette.responses import Response

from certferry.console.judge.preview import ChangePreview, preview_change, served_chain
from certferry.console.pages.ingresses import validate as ingress_fields
from certferry.console.pages.ingresses.form import PATH_TYPES, POLICIES, IngressForm, applied, form_of
from certferry.console.pages.ingresses.list import listener_owner
from certferry.console.pages.ingresses.listener_annotations import MODES
from certferry.console.pages.ingresses.synchronize import list_path, requested_ingress
from certferry.console.pages.objects.diff import diff, merge_patch
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext, DerivedState
from certferry.console.state.objects import ListedIngress
from certferry.console.state.rotations import TrackedRotation
from certferry.console.web.formatting import expiry
from certferry.console.web.forms import FormFields, refuse
from certferry.core.model.elb import Certificate
from certferry.core.model.kubernetes import Name
from certferry.core.model.naming import described
from certferry.core.x509.pem import Chain, listed
from certferry.kube.client.client import INGRESS

Object = dict[str, Any]


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/update."""
    ingress = requested_ingress(request, cluster)
    present = await cluster.kube.client.get(INGRESS, ingress.name.name, ingress.name.namespace)
    status = cluster.derived.translation.status.get(ingress.name)
    return request.render(
        "ingresses/update.html",
        preview=ChangePreview(present=served_chain(cluster.derived, ingress.name)),
        ingress=ingress,
        form=form_of(present),
        version=present["metadata"].get("resourceVersion", ""),
        balancer=cluster.elb.state.loadbalancers.get(status.loadbalancer) if status else None,
        owner=listener_owner(cluster, ingress.name),
        **choices(cluster, ingress.name.namespace, form_of(present)),
    )


async def show_diff(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/diff: the changes that OK would make."""
    ingress = requested_ingress(request, cluster)
    present = await cluster.kube.client.get(INGRESS, ingress.name.name, ingress.name.namespace)
    errors: dict[str, str] = {}
    form = _read(cluster, ingress.name.namespace, await request.form(), form_of(present), errors)
    lines = [] if errors else diff(present, applied(form, present))
    return request.render("shared/preview.html", lines=lines, errors=errors)


async def check(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/check: the checks of the form so far."""
    ingress = requested_ingress(request, cluster)
    present = await cluster.kube.client.get(INGRESS, ingress.name.name, ingress.name.namespace)
    form = _read(cluster, ingress.name.namespace, await request.form(), form_of(present), {})
    preview = (
        ChangePreview(present=served_chain(cluster.derived, ingress.name))
        if form == form_of(present)
        else preview_form(cluster, ingress.name.namespace, form, applied(form, present))
    )
    return request.render("ingresses/checks.html", preview=preview)


async def save(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/update."""
    ingress = requested_ingress(request, cluster)
    fields = await request.form()
    present = await cluster.kube.client.get(INGRESS, ingress.name.name, ingress.name.namespace)
    errors: dict[str, str] = {}
    before = form_of(present)
    form = _read(cluster, ingress.name.namespace, fields, before, errors)
    if not errors and _chooses(form, before):
        preview = preview_form(cluster, ingress.name.namespace, form, applied(form, present))
        if preview.rejected:
            errors["certificate" if form.source == "elb" else "secret"] = preview.rejected[0]
    refuse(errors)
    patch = merge_patch(present, applied(form, present))
    message = f"Ingress {ingress.name} was updated."
    if patch:
        await cluster.merge(INGRESS, ingress.name, patch, fields.text("version"))
    if not _chooses(form, before):
        return request.redirect(list_path(cluster, ingress.name), message if patch else "Nothing was changed.")
    return request.redirect(track(request, cluster, ingress, form), message)


def choices(cluster: ClusterContext, namespace: str, form: IngressForm) -> dict[str, Any]:
    """Return the options of the form's lists."""
    secrets = [
        (name.name, label(name.name, secret.parsed.chain))
        for name, secret in sorted(cluster.kube.secrets.items())
        if name.namespace == namespace and secret.parsed.tls
    ]
    certificates = selectable(cluster.elb.state.certificates.values(), {form.certificate, *form.sni_certificates})
    return {
        "secrets": secrets,
        "certificates": [(c.id, label(c.name or c.id, c.chain)) for c in certificates],
        "sni_certificates": [(c.id, label(c.name or c.id, c.chain)) for c in certificates if c.domain],
        "policies": [("", "TLS-1-2 (default)"), *POLICIES],
        "access_modes": list(MODES.items()),
        "ipgroups": [(i, _addresses(ips, i)) for i, ips in sorted(cluster.elb.state.ipgroups.items())],
        "path_types": PATH_TYPES,
        "services": [
            (name.name, [str(p.port) for p in service.parsed.ports])
            for name, service in sorted(cluster.kube.services.items())
            if name.namespace == namespace
        ],
    }


def selectable(certificates: Iterable[Certificate], chosen: Set[str] = frozenset()) -> list[Certificate]:
    """Return the server certificates to choose from; those that follow a Secret only if `chosen` already."""
    servers = (
        c
        for c in certificates
        if c.type == "server" and (c.id in chosen or not (c.owner or described(c.description).get("secret_id")))
    )
    return sorted(servers, key=lambda c: (c.name, c.id))


def preview_form(cluster: ClusterContext, namespace: str, form: IngressForm, body: Object) -> ChangePreview:
    """Return what the controller would do with `body`, the Ingress of the form."""
    chains = _chains(cluster, namespace, form) if form.protocol == "HTTPS" else []
    return preview_change(cluster.derived, cluster.options, body, chains, datetime.now(UTC))


def label(name: str, chain: Chain | None) -> str:
    """Return the label of a certificate in a list: name, domains, expiry."""
    text = f"{listed(chain.names, 2)}, {expiry(chain).word.lower()}" if chain else "cannot be read"
    return f"{name} — {text}"


def track(request: PageRequest, cluster: ClusterContext, ingress: ListedIngress, form: IngressForm) -> str:
    """Track the rotation; return the path of its page."""
    name = ingress.name
    rotation = TrackedRotation(
        f"Ingress {name}", list_path(cluster, name), _chains(cluster, name.namespace, form), datetime.now(UTC)
    )

    def objection(derived: DerivedState) -> str:
        problems = derived.problems.get(("Ingress", name), ())
        rejecting = ("CertificateHeldBack", "CertificateNotFound", "NoCertificate", "CertificateUnusable")
        return next((p.sentence for p in problems if p.reason in rejecting), "")

    return request.track(cluster, rotation, lambda derived: derived.by_ingress.get(name, ()), objection)


def _read(
    cluster: ClusterContext, namespace: str, fields: FormFields, before: IngressForm, errors: dict[str, str]
) -> IngressForm:
    form = ingress_fields.read(fields, errors)
    if not form.forwarding:  # the dialog may leave them collapsed
        form = msgspec.structs.replace(form, forwarding=before.forwarding)
    if form.source == "elb" and not form.secret and not form.sni:
        form = msgspec.structs.replace(form, secret=before.secret, sni=before.sni)
    if before.protocol == "HTTPS" and form.protocol != "HTTPS":
        errors["protocol"] = "An HTTPS Ingress stays HTTPS, because browsers that use HTTPS already would fail."
    ingress_fields.check(cluster, namespace, form, before, errors)
    return form


def _chooses(form: IngressForm, before: IngressForm) -> bool:
    """Return whether the form chooses other certificates than before."""

    def chosen(f: IngressForm) -> Any:
        return (f.certificate, f.sni_certificates) if f.source == "elb" else (f.secret, f.sni)

    return form.protocol == "HTTPS" and (form.source, chosen(form)) != (before.source, chosen(before))


def _chains(cluster: ClusterContext, namespace: str, form: IngressForm) -> list[Chain]:
    if form.source == "elb":
        certificates = [cluster.elb.state.certificates.get(i) for i in (form.certificate, *form.sni_certificates)]
        return [c.chain for c in certificates if c and c.chain]
    names = [Name(namespace, s) for s in (form.secret, *(row.secret for row in form.sni))]
    secrets = [cluster.kube.secrets.get(n) for n in names]
    return [s.parsed.chain for s in secrets if s and s.parsed.chain]


def _addresses(ips: Sequence[str], group: str) -> str:
    return f"{listed(tuple(ips), 3) or 'no address'} ({group})"


_ONE: Final = "/ingresses/{namespace}/{name}"
PAGES: Final[tuple[Page, ...]] = (
    cluster_page(f"{_ONE}/update", show, save, view_role="member"),
    cluster_page(f"{_ONE}/diff", None, show_diff),
    cluster_page(f"{_ONE}/check", None, check),
)
