"""Clusters: every cluster of the settings, reachable or not, and the nearest expiry in each."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final

import msgspec
from starlette.responses import Response

from certferry.clusters import ClusterAccess
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.state.elb_sites import key_of
from certferry.console.web.errors import LoginRequired, PageError
from certferry.console.web.page import Page
from certferry.console.web.request import PageRequest

PATIENCE: Final = 3.0
"""Seconds that the page waits for clusters; those that need longer come when they come."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One cluster."""

    name: str
    state: str
    """good, busy or bad."""
    word: str
    trouble: str = ""
    site: str = ""
    """Of the ELB to log in to first."""
    role: str = ""
    version: str = ""
    ingresses: int | None = None
    certificates: int | None = None
    nearest: datetime | None = None
    nearest_name: str = ""


async def show(visit: PageRequest) -> Response:
    """GET /clusters."""
    rows = await asyncio.gather(*(_row(visit, cluster) for cluster in visit.console.fleet.clusters))
    return visit.render("clusters/clusters.html", rows=rows, live="/live")


async def _row(visit: PageRequest, cluster: ClusterAccess) -> Row:
    try:
        desk = visit.desk_of(cluster)
    except LoginRequired:
        return Row(name=cluster.name, state="idle", word="Log in to its ELB", site=key_of(cluster))
    except PageError as stop:
        return Row(name=cluster.name, state="idle", word=stop.title, trouble=stop.sentence)
    await asyncio.gather(desk.kube.until_ready(PATIENCE), desk.elb.until_ready(PATIENCE))
    if trouble := desk.kube.trouble or desk.elb.trouble:
        return Row(name=cluster.name, state="bad", word="Not reachable", trouble=trouble, role=desk.role)
    if not (desk.kube.ready and desk.elb.ready):
        return Row(name=cluster.name, state="busy", word="Being read", role=desk.role)
    return _known(desk)


def _known(desk: ClusterContext) -> Row:
    ends = sorted(
        (use.chain.not_after, use.certificate) for use in desk.derived.uses if use.chain and use.ingresses
    )
    served = desk.elb.state.certificates.get(ends[0][1]) if ends else None
    return Row(
        name=desk.name,
        state="good",
        word="Reachable",
        role=desk.role,
        version=desk.kube.version,
        ingresses=len(desk.kube.ingresses),
        certificates=len(desk.elb.state.certificates),
        nearest=ends[0][0] if ends else None,
        nearest_name=", ".join(served.chain.names[:2]) if served and served.chain else "",
    )


PAGES: Final[tuple[Page, ...]] = (Page("/clusters", show),)
