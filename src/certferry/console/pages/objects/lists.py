"""The lists of ConfigMaps and Services."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.listing import Column, TablePage

CONFIG_MAPS: Final = (
    Column("name", "ConfigMap Name", lambda t: (t.name.name, t.name.namespace)),
    Column("data", "Data", lambda t: len(t.data)),
    Column("created", "Created", lambda t: t.created),
    Column("operation", "Operation"),
)
SERVICES: Final = (
    Column("name", "Service", lambda t: (t.name.name, t.name.namespace)),
    Column("type", "Access Type", lambda t: t.parsed.type),
    Column("address", "Cluster IP", lambda t: t.address),
    Column("ports", "Ports"),
    Column("created", "Created", lambda t: t.created),
    Column("operation", "Operation"),
)


async def config_maps(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}/configmaps."""
    rows = [t for n, t in sorted(cluster.kube.config_maps.items()) if request.namespace in ("", n.namespace)]
    listing = TablePage(rows, CONFIG_MAPS, request.query, lambda t: str(t.name), "ConfigMap")
    return request.render("objects/configmaps.html", listing=listing, live=f"/live/{cluster.name}")


async def services(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}/services."""
    rows = [t for n, t in sorted(cluster.kube.services.items()) if request.namespace in ("", n.namespace)]
    listing = TablePage(rows, SERVICES, request.query, lambda t: f"{t.name} {t.address}", "Service")
    return request.render("objects/services.html", listing=listing, live=f"/live/{cluster.name}")


PAGES: Final[tuple[Page, ...]] = (cluster_page("/configmaps", config_maps), cluster_page("/services", services))
