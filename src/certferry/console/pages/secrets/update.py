"""ConfigMaps and Secrets > Secrets > Update: procedure 1, with checks while one types.

OK writes the Secret and leads to the rotation's page. A private key goes from the form to the
Kubernetes API and nowhere else; none is ever put into a page.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response

from certferry.console.judge.certificate import (
    CERTIFICATE,
    KEY,
    CertificateContext,
    FormCheck,
    check_certificate_form,
)
from certferry.console.judge.secret import objection
from certferry.console.state.cluster_view import ClusterContext, DerivedState
from certferry.console.state.objects import ListedSecret
from certferry.console.state.rotations import TrackedRotation
from certferry.console.web.errors import FormErrors, not_found
from certferry.console.web.page import Page
from certferry.console.web.request import FormFields, PageRequest, path, refuse
from certferry.core.diagnosis import usage
from certferry.core.diagnosis.sni_overlap import overlapping_names
from certferry.core.model.kubernetes import TLS_TYPES, Name
from certferry.kube.client.client import SECRET, KubeError


async def show(visit: PageRequest) -> Response:
    """GET …/update."""
    desk = await visit.cluster_context()
    thing = found(visit, desk)
    present = await desk.kube.client.get(SECRET, thing.name.name, thing.name.namespace)
    return visit.render(
        "secrets/update.html",
        desk=desk,
        thing=thing,
        tls=thing.type in TLS_TYPES,
        version=present["metadata"].get("resourceVersion", ""),
        touched=usage.touched_by(desk.derived.uses, thing.name),
        place=place_of(desk, thing),
    )


async def check(visit: PageRequest) -> Response:
    """POST …/check: what is to be said of the certificate so far."""
    desk = await visit.cluster_context()
    thing = found(visit, desk)
    form, place = await visit.form(), place_of(desk, thing)
    judged = check_certificate_form(form.text(CERTIFICATE), form.text(KEY), place, datetime.now(UTC))
    return visit.render("shared/certificate_checks.html", desk=desk, judged=judged, place=place, form=form)


async def save(visit: PageRequest) -> Response:
    """POST …/update."""
    desk = await visit.cluster_context()
    thing = found(visit, desk)
    form = await visit.form()
    if thing.type not in TLS_TYPES:
        return await _save_values(visit, desk, thing, form)
    judged = _judged(desk, thing, form)
    data = {"tls.crt": base64_of(form.text(CERTIFICATE))}
    if form.text(KEY):
        data["tls.key"] = base64_of(form.text(KEY))
    await write(desk, thing, {"data": data}, form.text("version"))
    said = f"Secret {thing.name} is updated."
    if not desk.derived.referring.get(thing.name):
        return visit.redirect(_list(desk, thing), f"{said} No Ingress names it.")
    assert judged.chain
    rotation = TrackedRotation(f"Secret {thing.name}", _list(desk, thing), [judged.chain], datetime.now(UTC))
    name, digest = thing.name, judged.chain.digest

    def refused(derived: DerivedState) -> str:
        secret = derived.view.secrets.get(name)
        if secret is None or secret.chain is None or secret.chain.digest != digest:
            return ""
        return objection(derived.problems.get(("Secret", name), ()))

    visit.console.rotations.start(desk, rotation, lambda derived: derived.by_secret.get(name, ()), refused)
    return visit.redirect(path("clusters", desk.name, "rotations", rotation.id), said)


def found(visit: PageRequest, desk: ClusterContext) -> ListedSecret:
    """The Secret in the path. Raises ``Stop``."""
    name = Name(visit.part("namespace"), visit.part("name"))
    thing = desk.kube.secrets.get(name)
    if thing is None:
        raise not_found(f"Secret {name}", (path("clusters", desk.name, "secrets"), "Secrets"))
    return thing


def place_of(desk: ClusterContext, thing: ListedSecret) -> CertificateContext:
    """What a new certificate of the Secret has to do."""
    derived = desk.derived
    follow = derived.translation.follows.get(thing.uid)
    uses = derived.by_secret.get(thing.name, ())
    certificate = next((c for u in uses if (c := desk.elb.state.certificates.get(u.certificate))), None)
    return CertificateContext(
        present=thing.secret.chain,
        serving=next((use.chain for use in uses if use.chain), None),
        hosts=follow.depend if follow else (),
        taken=overlapping_names(certificate, desk.elb.state) if certificate else {},
    )


async def write(desk: ClusterContext, thing: ListedSecret, patch: dict[str, Any], version: str) -> None:
    """Merge `patch` into the Secret as it was at `version`. Raises ``Refusal`` when it changed since."""
    if version:
        patch = {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": version}}
    try:
        async with desk.writing() as kube:
            await kube.merge(SECRET, thing.name.name, patch, thing.name.namespace)
    except KubeError as error:
        if error.status == 409:
            raise FormErrors(
                {"": "Somebody changed this Secret meanwhile. Close this dialog and open it again."}, 409
            ) from None
        raise


def _judged(desk: ClusterContext, thing: ListedSecret, form: FormFields) -> FormCheck:
    judged = check_certificate_form(
        form.text(CERTIFICATE), form.text(KEY), place_of(desk, thing), datetime.now(UTC)
    )
    refuse(judged.errors)
    return judged


async def _save_values(
    visit: PageRequest, desk: ClusterContext, thing: ListedSecret, form: FormFields
) -> Response:
    known = {key for key, _ in thing.data}
    given = {k: v for k, v in zip(form.all("key"), form.all("value"), strict=False) if k and v}
    if unknown := sorted(given.keys() - known):
        raise FormErrors({"value": f"There is no value {unknown[0]}."})
    if given:
        data = {key: base64_of(value) for key, value in given.items()}
        await write(desk, thing, {"data": data}, form.text("version"))
    return visit.redirect(_list(desk, thing), f"Secret {thing.name} is updated.")


def _list(desk: ClusterContext, thing: ListedSecret) -> str:
    return f"{path('clusters', desk.name, 'secrets')}?namespace={thing.name.namespace}"


def base64_of(text: str) -> str:
    """As a Secret holds a text."""
    return base64.b64encode((text.rstrip("\n") + "\n").encode()).decode()


_ONE: Final = "/clusters/{cluster}/secrets/{namespace}/{name}"
PAGES: Final[tuple[Page, ...]] = (
    Page(f"{_ONE}/update", show, save, view_role="member"),
    Page(f"{_ONE}/check", None, check),
)
