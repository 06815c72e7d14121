"""Services & Ingresses > Ingresses > Create Ingress."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response

from certferry.console.judge.preview import ChangePreview
from certferry.console.pages.ingresses import validate as ingress_fields
from certferry.console.pages.ingresses.form import OPTIONS, IngressForm, applied
from certferry.console.pages.ingresses.synchronize import list_path
from certferry.console.pages.ingresses.update import choices, preview_form
from certferry.console.pages.objects.diff import diff
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.forms import FormFields, refuse
from certferry.core.model.kubernetes import Name
from certferry.core.translate.ingress_annotations import PREFIX
from certferry.kube.client.client import INGRESS, KubeError

NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_EMPTY: Final = IngressForm(options=dict.fromkeys(OPTIONS, ""))


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}/ingresses/create."""
    namespace = request.namespace or ("default" if "default" in cluster.kube.namespaces else "")
    return request.render(
        "ingresses/create.html",
        form=_EMPTY,
        preview=ChangePreview(),
        chosen=namespace,
        balancers=_balancers(cluster),
        **choices(cluster, namespace, _EMPTY),
    )


async def save(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST."""
    fields = await request.form()
    errors: dict[str, str] = {}
    body = _body(cluster, fields, errors)
    refuse(errors)
    name = Name(body["metadata"]["namespace"], body["metadata"]["name"])
    try:
        async with cluster.writing() as kube:
            await kube.create(INGRESS, body, name.namespace)
    except KubeError as error:
        if error.status == 409:
            refuse({"name": f"Ingress {name} already exists."})
        raise
    return request.redirect(list_path(cluster, name), f"Ingress {name} was created.")


async def show_diff(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/diff: the object that OK would create."""
    errors: dict[str, str] = {}
    body = _body(cluster, await request.form(), errors)
    lines = [] if errors else diff({"metadata": {}}, body)
    return request.render("shared/preview.html", lines=lines, errors=errors)


async def check(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/check: the checks of the form so far."""
    fields = await request.form()
    body = _body(cluster, fields, {})
    form = ingress_fields.read(fields, {})
    body["metadata"]["name"] = body["metadata"]["name"] or "new"
    body["metadata"]["creationTimestamp"] = datetime.now(UTC).isoformat()  # the youngest is no listener owner
    preview = preview_form(cluster, body["metadata"]["namespace"], form, body)
    return request.render("ingresses/checks.html", preview=preview)


def _body(cluster: ClusterContext, fields: FormFields, errors: dict[str, str]) -> dict[str, Any]:
    namespace, name = fields.text("in_namespace"), fields.text("name")
    if namespace not in cluster.kube.namespaces:
        errors["in_namespace"] = "There is no such namespace."
    if not NAME.fullmatch(name):
        errors["name"] = "Use lower-case letters, digits, - and . and begin and end with a letter or a digit."
    form = ingress_fields.read(fields, errors)
    ingress_fields.check(cluster, namespace, form, _EMPTY, errors)
    if not form.forwarding:
        errors["service"] = "An Ingress needs at least one forwarding policy."
    meta: dict[str, Any] = {"name": name, "namespace": namespace}
    if balancer := fields.text("loadbalancer"):
        if balancer not in cluster.elb.state.loadbalancers:
            errors["loadbalancer"] = "This load balancer no longer exists."
        meta["annotations"] = {f"{PREFIX}id": balancer}
    bare = {
        "apiVersion": INGRESS.group_version,
        "kind": INGRESS.name,
        "metadata": meta,
        "spec": {"ingressClassName": cluster.access.class_name},
    }
    return applied(form, bare)


def _balancers(cluster: ClusterContext) -> list[tuple[str, str]]:
    balancers = [(b.id, f"{b.name or b.id} ({b.vip_address})") for b in cluster.elb.state.loadbalancers.values()]
    default = cluster.access.default_loadbalancer
    return (
        [("", "The default of the cluster"), *sorted(balancers, key=lambda b: b[1])] if default else sorted(balancers)
    )


PAGES: Final[tuple[Page, ...]] = (
    cluster_page("/ingresses/create", show, save, view_role="member"),
    cluster_page("/ingresses/diff", None, show_diff),
    cluster_page("/ingresses/check", None, check),
)
