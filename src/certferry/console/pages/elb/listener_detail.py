"""ELB > Listeners: one listener."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from certferry.console.pages.elb.load_balancers import listener_row
from certferry.console.pages.hosts.details import details
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.errors import not_found
from certferry.console.web.forms import path


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}/elb/listeners/{id}."""
    listener = cluster.elb.state.listeners.get(request.part("id"))
    if listener is None:
        where = path("clusters", cluster.name, "elb", "loadbalancers")
        raise not_found(f"listener {request.part('id')}", (where, "Load Balancers"))
    return request.render(
        "elb/listener.html",
        row=listener_row(cluster, listener),
        balancer=cluster.elb.state.loadbalancers[listener.loadbalancer_id],
        details=await details(cluster, cluster.derived.hosts_by_listener.get(listener.id, ())),
        state=cluster.elb.state,
        live=f"/live/{cluster.name}",
    )


PAGES: Final[tuple[Page, ...]] = (cluster_page("/elb/listeners/{id}", show),)
