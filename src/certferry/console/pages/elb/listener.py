"""ELB > Listeners > Edit: certificates of a listener that no controller manages.

For a managed listener the dialog names the listener owner and changes nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response

from certferry.console.pages.elb.load_balancers import listener_row
from certferry.console.pages.ingresses.form import POLICIES
from certferry.console.pages.ingresses.update import label
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext, DerivedState
from certferry.console.state.rotations import TrackedRotation
from certferry.console.web.errors import FormErrors, not_found
from certferry.console.web.forms import path, refuse
from certferry.core.diagnosis.usage import Use
from certferry.core.model.elb import ENCRYPTED, Certificate, Listener
from certferry.core.model.naming import described
from certferry.elb.client.client import LISTENERS, ElbError


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/{id}/edit."""
    listener = _requested(request, cluster)
    servers = sorted(
        (c for c in cluster.elb.state.certificates.values() if c.type == "server"), key=lambda c: (c.name, c.id)
    )
    return request.render(
        "elb/listener_edit.html",
        row=listener_row(cluster, listener),
        certificates=[(c.id, label(c.name or c.id, c.chain)) for c in servers],
        sni_certificates=[(c.id, label(c.name or c.id, c.chain)) for c in servers if c.domain],
        policies=POLICIES,
    )


async def save(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/{id}/edit."""
    listener = _requested(request, cluster)
    row = listener_row(cluster, listener)
    if row.ours or listener.protection_status == "consoleProtection":
        raise FormErrors({"": "A controller manages this listener, or it is protected."}, 409)
    form = await request.form()
    certificates, errors = cluster.elb.state.certificates, {}
    server, sni = form.text("certificate"), [i for i in form.all("sni_certificate") if i]
    if server not in certificates:
        errors["certificate"] = "Select a server certificate."
    if any(i not in certificates for i in sni):
        errors["sni_certificate"] = "One of these certificates is no longer on the load balancer."
    refuse(errors)
    changes: dict[str, Any] = {"default_tls_container_ref": server, "sni_container_refs": sni}
    if policy := form.text("policy"):
        changes["tls_ciphers_policy"] = policy
    try:
        await cluster.elb.client.update(LISTENERS, listener.id, changes)
    except ElbError as error:
        if 400 <= error.status < 500 and error.status != 401:
            raise FormErrors({"": error.message}, error.status) from None
        raise
    await cluster.elb.refresh()
    chosen = [certificates[i] for i in (server, *sni)]
    return request.redirect(track(request, cluster, listener, chosen), "The listener was modified.")


def managed_by_controller(listener: Listener) -> bool:
    """Return whether a cluster's controller manages the listener."""
    return "cluster_id" in described(listener.description)


def track(request: PageRequest, cluster: ClusterContext, listener: Listener, chosen: list[Certificate]) -> str:
    """Track new certificates of a listener; return the path of the rotation's page."""
    title, identity = f"Listener {listener.name or listener.id}", listener.id
    chains = [c.chain for c in chosen if c.chain]
    rotation = TrackedRotation(title, _back(listener, cluster), chains, datetime.now(UTC))
    ids = {c.id for c in chosen}

    def uses(derived: DerivedState) -> list[Use]:
        return [use for use in derived.uses if use.listener == identity and use.certificate in ids]

    return request.track(cluster, rotation, uses)


def _requested(request: PageRequest, cluster: ClusterContext) -> Listener:
    listener = cluster.elb.state.listeners.get(request.part("id"))
    if listener is None or listener.protocol not in ENCRYPTED:
        raise not_found(f"HTTPS or TLS listener {request.part('id')}")
    return listener


def _back(listener: Listener, cluster: ClusterContext) -> str:
    return f"{path('clusters', cluster.name, 'elb', 'loadbalancers', listener.loadbalancer_id)}?tab=listeners"


PAGES: Final[tuple[Page, ...]] = (cluster_page("/elb/listeners/{id}/edit", show, save, view_role="member"),)
