"""ConfigMaps and Secrets > Secrets > Create Secret. Also opened in context by the form of an Ingress."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response

from certferry.console.judge.certificate import CERTIFICATE, KEY, CertificateContext, check_certificate_form
from certferry.console.pages.ingresses.create import NAME
from certferry.console.pages.ingresses.update import label
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.pages.secrets.update import base64_of
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.forms import FormFields, json, path, refuse
from certferry.core.model.kubernetes import TLS_TYPES
from certferry.core.x509.pem import Chain
from certferry.kube.client.client import SECRET, KubeError

TYPES: Final = (
    ("kubernetes.io/tls", "kubernetes.io/tls"),
    ("IngressTLS", "IngressTLS"),
    ("Opaque", "Opaque"),
    ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockerconfigjson"),
    ("other", "Other"),
)
_DATA_KEY = re.compile(r"(?!\.\.)[A-Za-z0-9._-]{1,253}")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}/secrets/create."""
    pick = request.query.get("pick", "")
    return request.render(
        "secrets/create.html",
        chosen=request.namespace or ("default" if "default" in cluster.kube.namespaces else ""),
        types=TYPES[:2] if pick else TYPES,
        pick=pick,
        context=CertificateContext(),
    )


async def check(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/check: the checks of the fields so far."""
    form = await request.form()
    checked = check_certificate_form(form.text(CERTIFICATE), form.text(KEY), CertificateContext(), datetime.now(UTC))
    return request.render("shared/certificate_checks.html", check=checked, context=CertificateContext(), form=form)


async def save(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST."""
    form = await request.form()
    errors: dict[str, str] = {}
    body, chain = _body(cluster, form, errors)
    refuse(errors)
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    try:
        async with cluster.writing() as kube:
            await kube.create(SECRET, body, namespace)
    except KubeError as error:
        if error.status == 409:
            refuse({"name": f"Secret {namespace}/{name} already exists."})
        raise
    if form.text("pick") and request.is_fragment:
        return json({"created": {"id": name, "label": label(name, chain), "into": "secrets"}})
    where = f"{path('clusters', cluster.name, 'secrets')}?namespace={namespace}"
    return request.redirect(where, f"Secret {namespace}/{name} was created.")


def _body(cluster: ClusterContext, form: FormFields, errors: dict[str, str]) -> tuple[dict[str, Any], Chain | None]:
    namespace, name = form.text("in_namespace"), form.text("name")
    if namespace not in cluster.kube.namespaces:
        errors["in_namespace"] = "There is no such namespace."
    if not NAME.fullmatch(name):
        errors["name"] = "Use lower-case letters, digits, - and . and begin and end with a letter or a digit."
    kind = form.text("type")
    kind = form.text("other_type") if kind == "other" else kind
    if not kind:
        errors["other_type"] = "Enter the type."
    meta: dict[str, Any] = {"name": name, "namespace": namespace}
    if labels := _labels(form, errors):
        meta["labels"] = labels
    if description := form.text("description"):
        meta["annotations"] = {"description": description}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": kind}
    if kind not in TLS_TYPES:
        return body | {"data": _values(form, errors)}, None
    checked = check_certificate_form(form.text(CERTIFICATE), form.text(KEY), CertificateContext(), datetime.now(UTC))
    errors |= checked.errors
    data = {"tls.crt": base64_of(form.text(CERTIFICATE)), "tls.key": base64_of(form.text(KEY))}
    return body | {"data": data}, checked.chain


def _values(form: FormFields, errors: dict[str, str]) -> dict[str, str]:
    values = {}
    for key, value in zip(form.all("key"), form.all("value"), strict=False):
        if not key and not value:
            continue
        if not _DATA_KEY.fullmatch(key):
            errors["value"] = (
                f"“{key[:60]}” is not a valid key. Use letters, digits, . _ and -, and do not begin with two dots."
            )
        values[key] = base64_of(value)
    return values


def _labels(form: FormFields, errors: dict[str, str]) -> dict[str, str]:
    values = {}
    for key, value in zip(form.all("label_key"), form.all("label_value"), strict=False):
        if not key and not value:
            continue
        if not _LABEL_KEY.fullmatch(key) or (value and not _LABEL.fullmatch(value)):
            errors["label_key"] = f"“{key[:60]}={value[:60]}” is not a valid label."
        values[key] = value
    return values


_ROOT: Final = "/secrets"
PAGES: Final[tuple[Page, ...]] = (
    cluster_page(f"{_ROOT}/create", show, save, view_role="member"),
    cluster_page(f"{_ROOT}/check", None, check),
)
