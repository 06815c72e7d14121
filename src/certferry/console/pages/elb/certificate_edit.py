"""ELB > Certificates: Create, Modify, Delete, and modification protection.

New content changes every listener that uses the certificate at once (procedure 2b). A private key goes from the
form to the ELB and nowhere else.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response

from certferry.console.judge import deletion
from certferry.console.judge.certificate import CERTIFICATE, KEY, CertificateContext, FormCheck, check_certificate_form
from certferry.console.pages.elb.certificates import list_path, lock_of, may_change, requested_certificate
from certferry.console.pages.ingresses.update import label
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.state.rotations import TrackedRotation
from certferry.console.web.errors import FormErrors, PageError
from certferry.console.web.forms import FormFields, json, refuse
from certferry.core.diagnosis import usage
from certferry.core.diagnosis.sni_names import overlapping_names
from certferry.core.model.elb import Certificate, domain_names
from certferry.core.x509.pem import Chain, InvalidPem, parse_chain
from certferry.elb.client.client import CERTIFICATES, ElbError

TYPES: Final = (("server", "Server certificate"), ("client", "CA certificate"))
_NAME: Final = re.compile(r"(\*\.)?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


async def show_create(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/create."""
    return request.render(
        "elb_certificates/create.html", types=TYPES, pick=request.query.get("pick", ""), context=CertificateContext()
    )


async def create(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/create."""
    form = await request.form()
    errors: dict[str, str] = {}
    kind = form.text("type") or "server"
    fields: dict[str, Any] = {**_text_fields(form, errors), "type": kind, "certificate": form.text(CERTIFICATE)}
    if kind == "server":
        checked = check_certificate_form(
            form.text(CERTIFICATE), form.text(KEY), CertificateContext(), datetime.now(UTC)
        )
        errors |= checked.errors
        fields["private_key"] = form.text(KEY)
    else:
        errors |= _check_authority(form.text(CERTIFICATE))
        fields.pop("domain", None)
    refuse(errors)
    created = await elb_request(cluster.elb.client.create_certificate(fields))
    await cluster.elb.refresh()
    name = created.name or created.id
    if form.text("pick") and request.is_fragment:
        return json(
            {
                "created": {
                    "id": created.id,
                    "label": label(name, created.chain),
                    "into": "certificates",
                    "sni": bool(created.domain),
                }
            }
        )
    return request.redirect(list_path(cluster), f"Certificate {name} was created.")


async def show_modify(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/{id}/modify."""
    certificate = requested_certificate(request, cluster)
    lock = lock_of(request, cluster, certificate)
    if not may_change(cluster, certificate, lock):
        assert lock
        raise PageError(409, "Locked", lock.reason, (lock.link, lock.label) if lock.link else None)
    return request.render(
        "elb_certificates/modify.html",
        certificate=certificate,
        lock=lock,
        context=certificate_context(cluster, certificate),
        affected=usage.touched_by(cluster.derived.uses, certificate.id),
    )


async def modify(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/{id}/modify."""
    certificate = requested_certificate(request, cluster)
    _check_unlocked(request, cluster, certificate)
    form = await request.form()
    errors: dict[str, str] = {}
    fields = _text_fields(form, errors)
    chain = None
    if form.text(CERTIFICATE) or form.text(KEY):
        if certificate.type == "server":
            checked = _check(cluster, certificate, form)
            errors |= checked.errors
            chain = checked.chain
            fields |= {"private_key": form.text(KEY)} if form.text(KEY) else {}
        else:
            errors |= _check_authority(form.text(CERTIFICATE))
        fields["certificate"] = form.text(CERTIFICATE)
    refuse(errors)
    changes = _changes(certificate, fields)
    if changes:
        await elb_request(cluster.elb.client.update_certificate(certificate.id, changes))
        await cluster.elb.refresh()
    message = f"Certificate {certificate.name or certificate.id} was modified."
    if chain is None or not cluster.derived.by_certificate.get(certificate.id):
        return request.redirect(list_path(cluster), message)
    return request.redirect(track(request, cluster, certificate, chain), message)


async def check(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/{id}/check, and …/check for a new certificate."""
    form = await request.form()
    if "id" in request.http.path_params:
        certificate = requested_certificate(request, cluster)
        checked, context = _check(cluster, certificate, form), certificate_context(cluster, certificate)
    else:
        context = CertificateContext()
        checked = check_certificate_form(form.text(CERTIFICATE), form.text(KEY), context, datetime.now(UTC))
    return request.render("shared/certificate_checks.html", check=checked, context=context, form=form)


async def show_delete(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/{id}/delete."""
    certificate = requested_certificate(request, cluster)
    uses = cluster.derived.by_certificate.get(certificate.id, ())
    lock = lock_of(request, cluster, certificate)
    impact = [lock.reason] if lock else deletion.of_certificate(len(uses)) if uses else []
    return request.render(
        "elb_certificates/delete.html",
        certificate=certificate,
        impact=impact,
        uses=() if lock else uses,
        state=cluster.elb.state,
    )


async def delete(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/{id}/delete."""
    certificate = requested_certificate(request, cluster)
    if lock := lock_of(request, cluster, certificate):
        raise FormErrors({"": lock.reason}, 409)
    await elb_request(cluster.elb.client.delete(CERTIFICATES, certificate.id))
    await cluster.elb.refresh()
    return request.redirect(list_path(cluster), f"Certificate {certificate.name or certificate.id} was deleted.")


async def show_protection(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/{id}/protection."""
    return request.render("elb_certificates/protection.html", certificate=requested_certificate(request, cluster))


async def protect(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/{id}/protection."""
    certificate = requested_certificate(request, cluster)
    form = await request.form()
    reason, on = form.text("reason"), form.text("protected") == "on"
    if len(reason) > 255 or "<" in reason or ">" in reason:
        refuse({"reason": "At most 255 characters, without < and >."})
    fields = {
        "protection_status": "consoleProtection" if on else "nonProtection",
        "protection_reason": reason if on else "",
    }
    await elb_request(cluster.elb.client.update_certificate(certificate.id, fields))
    await cluster.elb.refresh()
    return request.redirect(list_path(cluster), f"Modification protection is {'on' if on else 'off'}.")


def certificate_context(cluster: ClusterContext, certificate: Certificate) -> CertificateContext:
    """Return what new content of a certificate replaces."""
    uses = cluster.derived.by_certificate.get(certificate.id, ())
    hosts = tuple(sorted({h for use in uses for h in use.hosts}))
    return CertificateContext(
        present=certificate.chain,
        serving=certificate.chain if uses else None,
        hosts=hosts,
        overlapping=overlapping_names(certificate, cluster.elb.state),
        compromised=cluster.elb.state.compromised,
    )


def track(request: PageRequest, cluster: ClusterContext, certificate: Certificate, chain: Chain) -> str:
    """Track new content of a certificate; return the path of the rotation's page."""
    title = f"Certificate {certificate.name or certificate.id}"
    rotation = TrackedRotation(title, list_path(cluster), [chain], datetime.now(UTC))
    identity = certificate.id
    return request.track(cluster, rotation, lambda derived: derived.by_certificate.get(identity, ()))


def _check(cluster: ClusterContext, certificate: Certificate, form: FormFields) -> FormCheck:
    context = certificate_context(cluster, certificate)
    return check_certificate_form(form.text(CERTIFICATE), form.text(KEY), context, datetime.now(UTC))


def _check_unlocked(request: PageRequest, cluster: ClusterContext, certificate: Certificate) -> None:
    lock = lock_of(request, cluster, certificate)
    if not may_change(cluster, certificate, lock):
        assert lock
        raise FormErrors({"": lock.reason}, 409)


def _text_fields(form: FormFields, errors: dict[str, str]) -> dict[str, Any]:
    name, description = form.text("name"), form.text("description")
    if len(name) > 255:
        errors["name"] = "At most 255 characters."
    if len(description) > 255:
        errors["description"] = "At most 255 characters."
    domains = domain_names(form.text("domain"))
    invalid = next((d for d in domains if not _NAME.fullmatch(d)), None)
    if invalid:
        errors["domain"] = f"“{invalid[:60]}” is not a domain name."
    return {"name": name, "description": description, "domain": ",".join(domains)}


def _changes(certificate: Certificate, fields: dict[str, Any]) -> dict[str, Any]:
    present = {"name": certificate.name, "description": certificate.description, "domain": ",".join(certificate.domain)}
    return {key: value for key, value in fields.items() if present.get(key) != value}


def _check_authority(text: str) -> dict[str, str]:
    try:
        parse_chain(text)
    except InvalidPem as defect:
        return {CERTIFICATE: defect.sentence}
    return {}


async def elb_request(request: Any) -> Any:
    """Await a request to the ELB. Raises ``FormErrors`` if the ELB rejects it."""
    try:
        return await request
    except ElbError as error:
        if 400 <= error.status < 500 and error.status != 401:
            raise FormErrors({"": error.message}, error.status) from None
        raise


_ROOT: Final = "/elb/certificates"
PAGES: Final[tuple[Page, ...]] = (
    cluster_page(f"{_ROOT}/create", show_create, create, view_role="member"),
    cluster_page(f"{_ROOT}/check", None, check),
    cluster_page(f"{_ROOT}/{{id}}/check", None, check),
    cluster_page(f"{_ROOT}/{{id}}/modify", show_modify, modify, view_role="member"),
    cluster_page(f"{_ROOT}/{{id}}/delete", show_delete, delete, view_role="member"),
    cluster_page(f"{_ROOT}/{{id}}/protection", show_protection, protect, view_role="member"),
)
