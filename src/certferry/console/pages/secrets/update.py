"""ConfigMaps and Secrets > Secrets > Update: procedure 1, with checks while the user types.

OK writes the Secret and leads to the rotation's page. A private key goes from the form to the Kubernetes API and
nowhere else; no page contains one.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Final

from starlette.responses import Response

from certferry.console.judge.certificate import CERTIFICATE, KEY, CertificateContext, FormCheck, check_certificate_form
from certferry.console.judge.secret import objection
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext, DerivedState
from certferry.console.state.objects import ListedSecret
from certferry.console.state.rotations import TrackedRotation
from certferry.console.web.errors import FormErrors, not_found
from certferry.console.web.forms import FormFields, path, refuse
from certferry.core.diagnosis import usage
from certferry.core.diagnosis.sni_names import overlapping_names
from certferry.core.model.kubernetes import Name
from certferry.kube.client.client import SECRET


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/update."""
    secret = requested_secret(request, cluster)
    present = await cluster.kube.client.get(SECRET, secret.name.name, secret.name.namespace)
    return request.render(
        "secrets/update.html",
        secret=secret,
        tls=secret.parsed.tls,
        version=present["metadata"].get("resourceVersion", ""),
        affected=usage.touched_by(cluster.derived.uses, secret.name),
        context=certificate_context(cluster, secret),
    )


async def check(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/check: the checks of the fields so far."""
    secret = requested_secret(request, cluster)
    form, context = await request.form(), certificate_context(cluster, secret)
    checked = check_certificate_form(form.text(CERTIFICATE), form.text(KEY), context, datetime.now(UTC))
    return request.render("shared/certificate_checks.html", check=checked, context=context, form=form)


async def save(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/update."""
    secret = requested_secret(request, cluster)
    form = await request.form()
    if not secret.parsed.tls:
        return await _save_values(request, cluster, secret, form)
    checked = _check(cluster, secret, form)
    data = {"tls.crt": base64_of(form.text(CERTIFICATE))}
    if form.text(KEY):
        data["tls.key"] = base64_of(form.text(KEY))
    await cluster.merge(SECRET, secret.name, {"data": data}, form.text("version"))
    message = f"Secret {secret.name} was updated."
    if not cluster.derived.referring.get(secret.name):
        return request.redirect(_list(cluster, secret), f"{message} No Ingress names it.")
    assert checked.chain
    rotation = TrackedRotation(f"Secret {secret.name}", _list(cluster, secret), [checked.chain], datetime.now(UTC))
    name, digest = secret.name, checked.chain.digest

    def rejected(derived: DerivedState) -> str:
        secret = derived.view.secrets.get(name)
        if secret is None or secret.chain is None or secret.chain.digest != digest:
            return ""
        return objection(derived.problems.get(("Secret", name), ()))

    to = request.track(cluster, rotation, lambda derived: derived.by_secret.get(name, ()), rejected)
    return request.redirect(to, message)


def requested_secret(request: PageRequest, cluster: ClusterContext) -> ListedSecret:
    """Return the Secret in the path. Raises ``PageError`` if there is none."""
    name = Name(request.part("namespace"), request.part("name"))
    secret = cluster.kube.secrets.get(name)
    if secret is None:
        raise not_found(f"Secret {name}", (path("clusters", cluster.name, "secrets"), "Secrets"))
    return secret


def certificate_context(cluster: ClusterContext, secret: ListedSecret) -> CertificateContext:
    """Return what a new certificate of the Secret replaces."""
    derived = cluster.derived
    follow = derived.translation.secret_uses.get(secret.uid)
    uses = derived.by_secret.get(secret.name, ())
    certificate = next((c for u in uses if (c := cluster.elb.state.certificates.get(u.certificate))), None)
    return CertificateContext(
        present=secret.parsed.chain,
        serving=next((use.chain for use in uses if use.chain), None),
        hosts=follow.depend if follow else (),
        overlapping=overlapping_names(certificate, cluster.elb.state) if certificate else {},
        compromised=derived.translation.compromised,
    )


def _check(cluster: ClusterContext, secret: ListedSecret, form: FormFields) -> FormCheck:
    checked = check_certificate_form(
        form.text(CERTIFICATE), form.text(KEY), certificate_context(cluster, secret), datetime.now(UTC)
    )
    refuse(checked.errors)
    return checked


async def _save_values(
    request: PageRequest, cluster: ClusterContext, secret: ListedSecret, form: FormFields
) -> Response:
    keys = {key for key, _ in secret.data}
    given = {k: v for k, v in zip(form.all("key"), form.all("value"), strict=False) if k and v}
    if unknown := sorted(given.keys() - keys):
        raise FormErrors({"value": f"There is no value {unknown[0]}."})
    if given:
        data = {key: base64_of(value) for key, value in given.items()}
        await cluster.merge(SECRET, secret.name, {"data": data}, form.text("version"))
    return request.redirect(_list(cluster, secret), f"Secret {secret.name} was updated.")


def _list(cluster: ClusterContext, secret: ListedSecret) -> str:
    return f"{path('clusters', cluster.name, 'secrets')}?namespace={secret.name.namespace}"


def base64_of(text: str) -> str:
    """Return a text as a Secret holds it: with one final newline, in base64."""
    return base64.b64encode((text.rstrip("\n") + "\n").encode()).decode()


_ONE: Final = "/secrets/{namespace}/{name}"
PAGES: Final[tuple[Page, ...]] = (
    cluster_page(f"{_ONE}/update", show, save, view_role="member"),
    cluster_page(f"{_ONE}/check", None, check),
)
