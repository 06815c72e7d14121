"""ELB > Certificates: Create, Modify, Delete, and modification protection.

Modify of content is procedure 2b: every listener that uses the certificate follows at once. A private
key goes from the form to the ELB and nowhere else.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response

from certferry.console.judge import deletion as impact
from certferry.console.judge.certificate import (
    CERTIFICATE,
    KEY,
    CertificateContext,
    FormCheck,
    check_certificate_form,
)
from certferry.console.pages.elb.certificates import found, list_path, lock_of, may_change
from certferry.console.pages.ingresses.update import label
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.state.rotations import TrackedRotation
from certferry.console.web.errors import FormErrors, PageError
from certferry.console.web.page import Page
from certferry.console.web.request import FormFields, PageRequest, json, path, refuse
from certferry.core.diagnosis import usage
from certferry.core.diagnosis.sni_overlap import overlapping_names
from certferry.core.model.elb import Certificate, domain_names
from certferry.core.x509.pem import Chain, InvalidPem, parse_chain
from certferry.elb.client.client import CERTIFICATES, ElbError

TYPES: Final = (("server", "Server certificate"), ("client", "CA certificate"))
_NAME: Final = re.compile(r"(\*\.)?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


async def show_create(visit: PageRequest) -> Response:
    """GET …/create."""
    desk = await visit.cluster_context()
    return visit.render(
        "elb_certificates/create.html",
        desk=desk,
        types=TYPES,
        pick=visit.query.get("pick", ""),
        place=CertificateContext(),
    )


async def create(visit: PageRequest) -> Response:
    """POST …/create."""
    desk = await visit.cluster_context()
    form = await visit.form()
    errors: dict[str, str] = {}
    kind = form.text("type") or "server"
    fields: dict[str, Any] = {**_words(form, errors), "type": kind, "certificate": form.text(CERTIFICATE)}
    if kind == "server":
        judged = check_certificate_form(
            form.text(CERTIFICATE), form.text(KEY), CertificateContext(), datetime.now(UTC)
        )
        errors |= judged.errors
        fields["private_key"] = form.text(KEY)
    else:
        errors |= _authority(form.text(CERTIFICATE))
        fields.pop("domain", None)
    refuse(errors)
    made = await answered(desk.elb.client.create_certificate(fields))
    await desk.elb.refresh()
    name = made.name or made.id
    if form.text("pick") and visit.is_fragment:
        return json(
            {
                "created": {
                    "id": made.id,
                    "label": label(name, made.chain),
                    "into": "certificates",
                    "sni": bool(made.domain),
                }
            }
        )
    return visit.redirect(list_path(desk), f"Certificate {name} is created.")


async def show_modify(visit: PageRequest) -> Response:
    """GET …/{id}/modify."""
    desk = await visit.cluster_context()
    certificate = found(visit, desk)
    lock = lock_of(visit, desk, certificate)
    if not may_change(desk, certificate, lock):
        assert lock
        raise PageError(409, "Locked", lock.reason, (lock.link, lock.label) if lock.link else None)
    return visit.render(
        "elb_certificates/modify.html",
        desk=desk,
        certificate=certificate,
        lock=lock,
        place=place_of(desk, certificate),
        touched=usage.touched_by(desk.derived.uses, certificate.id),
    )


async def modify(visit: PageRequest) -> Response:
    """POST …/{id}/modify."""
    desk = await visit.cluster_context()
    certificate = found(visit, desk)
    _check_open(visit, desk, certificate)
    form = await visit.form()
    errors: dict[str, str] = {}
    fields = _words(form, errors)
    chain = None
    if form.text(CERTIFICATE) or form.text(KEY):
        if certificate.type == "server":
            judged = _judged(desk, certificate, form)
            errors |= judged.errors
            chain = judged.chain
            fields |= {"private_key": form.text(KEY)} if form.text(KEY) else {}
        else:
            errors |= _authority(form.text(CERTIFICATE))
        fields["certificate"] = form.text(CERTIFICATE)
    refuse(errors)
    changes = _changes(certificate, fields)
    if changes:
        await answered(desk.elb.client.update_certificate(certificate.id, changes))
        await desk.elb.refresh()
    said = f"Certificate {certificate.name or certificate.id} is modified."
    if chain is None or not desk.derived.by_certificate.get(certificate.id):
        return visit.redirect(list_path(desk), said)
    return visit.redirect(follow(visit, desk, certificate, chain), said)


async def check(visit: PageRequest) -> Response:
    """POST …/{id}/check; and …/check for a new one."""
    desk = await visit.cluster_context()
    form = await visit.form()
    if "id" in visit.request.path_params:
        certificate = found(visit, desk)
        judged, place = _judged(desk, certificate, form), place_of(desk, certificate)
    else:
        place = CertificateContext()
        judged = check_certificate_form(form.text(CERTIFICATE), form.text(KEY), place, datetime.now(UTC))
    return visit.render("shared/certificate_checks.html", desk=desk, judged=judged, place=place, form=form)


async def show_delete(visit: PageRequest) -> Response:
    """GET …/{id}/delete."""
    desk = await visit.cluster_context()
    certificate = found(visit, desk)
    uses = desk.derived.by_certificate.get(certificate.id, ())
    lock = lock_of(visit, desk, certificate)
    told = [lock.reason] if lock else impact.of_certificate(len(uses)) if uses else []
    return visit.render(
        "elb_certificates/delete.html",
        desk=desk,
        certificate=certificate,
        impact=told,
        uses=() if lock else uses,
        state=desk.elb.state,
    )


async def delete(visit: PageRequest) -> Response:
    """POST …/{id}/delete."""
    desk = await visit.cluster_context()
    certificate = found(visit, desk)
    if lock := lock_of(visit, desk, certificate):
        raise FormErrors({"": lock.reason}, 409)
    await answered(desk.elb.client.delete(CERTIFICATES, certificate.id))
    await desk.elb.refresh()
    return visit.redirect(list_path(desk), f"Certificate {certificate.name or certificate.id} is deleted.")


async def show_protection(visit: PageRequest) -> Response:
    """GET …/{id}/protection."""
    desk = await visit.cluster_context()
    return visit.render("elb_certificates/protection.html", desk=desk, certificate=found(visit, desk))


async def protect(visit: PageRequest) -> Response:
    """POST …/{id}/protection."""
    desk = await visit.cluster_context()
    certificate = found(visit, desk)
    form = await visit.form()
    reason, on = form.text("reason"), form.text("protected") == "on"
    if len(reason) > 255 or "<" in reason or ">" in reason:
        refuse({"reason": "At most 255 characters, without < and >."})
    fields = {
        "protection_status": "consoleProtection" if on else "nonProtection",
        "protection_reason": reason if on else "",
    }
    await answered(desk.elb.client.update_certificate(certificate.id, fields))
    await desk.elb.refresh()
    return visit.redirect(list_path(desk), f"Modification protection is {'on' if on else 'off'}.")


def place_of(desk: ClusterContext, certificate: Certificate) -> CertificateContext:
    """What new content has to do."""
    uses = desk.derived.by_certificate.get(certificate.id, ())
    hosts = tuple(sorted({h for use in uses for h in use.hosts}))
    return CertificateContext(
        present=certificate.chain,
        serving=certificate.chain if uses else None,
        hosts=hosts,
        taken=overlapping_names(certificate, desk.elb.state),
    )


def follow(visit: PageRequest, desk: ClusterContext, certificate: Certificate, chain: Chain) -> str:
    """Start to follow new content of a certificate; the path of its page."""
    title = f"Certificate {certificate.name or certificate.id}"
    rotation = TrackedRotation(title, list_path(desk), [chain], datetime.now(UTC))
    identity = certificate.id
    visit.console.rotations.start(desk, rotation, lambda derived: derived.by_certificate.get(identity, ()))
    return path("clusters", desk.name, "rotations", rotation.id)


def _judged(desk: ClusterContext, certificate: Certificate, form: FormFields) -> FormCheck:
    place = place_of(desk, certificate)
    return check_certificate_form(form.text(CERTIFICATE), form.text(KEY), place, datetime.now(UTC))


def _check_open(visit: PageRequest, desk: ClusterContext, certificate: Certificate) -> None:
    lock = lock_of(visit, desk, certificate)
    if not may_change(desk, certificate, lock):
        assert lock
        raise FormErrors({"": lock.reason}, 409)


def _words(form: FormFields, errors: dict[str, str]) -> dict[str, Any]:
    name, description = form.text("name"), form.text("description")
    if len(name) > 255:
        errors["name"] = "At most 255 characters."
    if len(description) > 255:
        errors["description"] = "At most 255 characters."
    domains = domain_names(form.text("domain"))
    wrong = next((d for d in domains if not _NAME.fullmatch(d)), None)
    if wrong:
        errors["domain"] = f"“{wrong[:60]}” is not a domain name."
    return {"name": name, "description": description, "domain": ",".join(domains)}


def _changes(certificate: Certificate, fields: dict[str, Any]) -> dict[str, Any]:
    present = {
        "name": certificate.name,
        "description": certificate.description,
        "domain": ",".join(certificate.domain),
    }
    return {key: value for key, value in fields.items() if present.get(key) != value}


def _authority(text: str) -> dict[str, str]:
    try:
        parse_chain(text)
    except InvalidPem as defect:
        return {CERTIFICATE: defect.sentence}
    return {}


async def answered(request: Any) -> Any:
    """The answer; what the ELB refuses is said beside the form."""
    try:
        return await request
    except ElbError as error:
        if 400 <= error.status < 500 and error.status != 401:
            raise FormErrors({"": error.message}, error.status) from None
        raise


_ROOT: Final = "/clusters/{cluster}/elb/certificates"
PAGES: Final[tuple[Page, ...]] = (
    Page(f"{_ROOT}/create", show_create, create, view_role="member"),
    Page(f"{_ROOT}/check", None, check),
    Page(f"{_ROOT}/{{id}}/check", None, check),
    Page(f"{_ROOT}/{{id}}/modify", show_modify, modify, view_role="member"),
    Page(f"{_ROOT}/{{id}}/delete", show_delete, delete, view_role="member"),
    Page(f"{_ROOT}/{{id}}/protection", show_protection, protect, view_role="member"),
)
