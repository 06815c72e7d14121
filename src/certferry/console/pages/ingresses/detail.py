"""Services & Ingresses > Ingresses: one Ingress."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from certferry.console.pages.events import of_name
from certferry.console.pages.hosts.details import details
from certferry.console.pages.ingresses.list import row, row_badge
from certferry.console.pages.ingresses.synchronize import differences, requested_ingress
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}/ingresses/{namespace}/{name}."""
    ingress, derived = requested_ingress(request, cluster), cluster.derived
    this = row(cluster, derived, ingress)
    reported = derived.problems.get(("Ingress", ingress.name), ())
    return request.render(
        "ingresses/ingress.html",
        row=this,
        badge=row_badge(cluster, this),
        details=await details(cluster, this.host_states, reported),
        differing=differences(cluster, ingress),
        events=await of_name(cluster, "Ingress", ingress.name),
        live=f"/live/{cluster.name}",
    )


PAGES: Final[tuple[Page, ...]] = (cluster_page("/ingresses/{namespace}/{name}", show),)
