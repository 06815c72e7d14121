"""The ConfigMaps tab and the Services tab: lists beside the ones that this console is for."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from certferry.console.web.listing import Column, TablePage
from certferry.console.web.page import Page
from certferry.console.web.request import PageRequest

CONFIG_MAPS: Final = (
    Column("name", "ConfigMap Name", lambda t: (t.name.name, t.name.namespace)),
    Column("data", "Data", lambda t: len(t.data)),
    Column("created", "Created", lambda t: t.created),
    Column("operation", "Operation"),
)
SERVICES: Final = (
    Column("name", "Service", lambda t: (t.name.name, t.name.namespace)),
    Column("type", "Access Type", lambda t: t.service.type),
    Column("address", "Cluster IP", lambda t: t.address),
    Column("ports", "Ports"),
    Column("created", "Created", lambda t: t.created),
    Column("operation", "Operation"),
)


async def config_maps(visit: PageRequest) -> Response:
    """GET /clusters/{cluster}/configmaps."""
    desk = await visit.cluster_context()
    rows = [t for n, t in sorted(desk.kube.config_maps.items()) if visit.namespace in ("", n.namespace)]
    listing = TablePage(rows, CONFIG_MAPS, visit.query, lambda t: str(t.name))
    return visit.render("objects/configmaps.html", desk=desk, listing=listing, live=f"/live/{desk.name}")


async def services(visit: PageRequest) -> Response:
    """GET /clusters/{cluster}/services."""
    desk = await visit.cluster_context()
    rows = [t for n, t in sorted(desk.kube.services.items()) if visit.namespace in ("", n.namespace)]
    listing = TablePage(rows, SERVICES, visit.query, lambda t: f"{t.name} {t.address}")
    return visit.render("objects/services.html", desk=desk, listing=listing, live=f"/live/{desk.name}")


PAGES: Final[tuple[Page, ...]] = (
    Page("/clusters/{cluster}/configmaps", config_maps),
    Page("/clusters/{cluster}/services", services),
)
