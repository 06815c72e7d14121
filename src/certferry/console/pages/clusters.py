"""Clusters: every cluster of the settings, its connection, and its next expiry."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from starlette.responses import Response

from certferry.clusters import ClusterAccess
from certferry.console.judge.health import LEVELS, host_places, overall
from certferry.console.judge.hosts import CertificateExpiry, expiries
from certferry.console.pages.request import Page, PageRequest
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.state.elb_sites import key_of
from certferry.console.web.errors import LoginRequired, PageError
from certferry.console.web.formatting import Badge

WAIT: Final = 3.0
"""Seconds that the page waits for clusters; slower ones appear when they are read."""


class ClusterRow(msgspec.Struct, frozen=True, kw_only=True):
    """One cluster."""

    name: str
    level: str
    """good, busy, idle or bad."""
    status: str
    error: str = ""
    site: str = ""
    """Key of the ELB that needs a login first."""
    role: str = ""
    version: str = ""
    ingresses: int | None = None
    certificates: int | None = None
    health: Badge | None = None
    expires: Badge | None = None
    expires_name: str = ""


async def show(request: PageRequest) -> Response:
    """GET /clusters."""
    rows = await asyncio.gather(*(_row(request, access) for access in request.console.fleet.clusters))
    return request.render("clusters/clusters.html", rows=sorted(rows, key=_severity), live="/live")


def _severity(row: ClusterRow) -> int:
    """Return the sort key: the cluster with the most severe state first; otherwise as in the settings."""
    return min(LEVELS[row.level], LEVELS[row.health.level] if row.health else LEVELS["good"])


async def _row(request: PageRequest, access: ClusterAccess) -> ClusterRow:
    try:
        cluster = request.context_of(access)
    except LoginRequired:
        return ClusterRow(name=access.name, level="idle", status="Log in to its ELB", site=key_of(access))
    except PageError as error:
        return ClusterRow(name=access.name, level="idle", status=error.title, error=error.sentence)
    ready = await cluster.ready(WAIT)
    if cluster.error:
        return ClusterRow(name=access.name, level="bad", status="Not reachable", error=cluster.error, role=cluster.role)
    if not ready:
        return ClusterRow(name=access.name, level="busy", status="Being read", role=cluster.role)
    return _read_row(cluster)


def _read_row(cluster: ClusterContext) -> ClusterRow:
    derived = cluster.derived
    first = next(iter(expiries(derived.hosts, derived.at, cluster.access.limits)), None)
    return ClusterRow(
        name=cluster.name,
        level="good",
        status="Reachable",
        role=cluster.role,
        version=cluster.kube.version,
        ingresses=len(cluster.kube.ingresses),
        certificates=len(cluster.elb.state.certificates),
        health=overall(host_places(cluster)),
        expires=first.badge if first else None,
        expires_name=_name(first) if first else "",
    )


def _name(entry: CertificateExpiry) -> str:
    return ", ".join(entry.chain.names[:2]) if entry.chain else str(entry.source)


PAGES: Final[tuple[Page, ...]] = (Page("/clusters", show),)
