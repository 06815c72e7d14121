"""Hosts: the list, and one host."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from certferry.console.judge.health import CATEGORIES, HostPlace, host_places, places
from certferry.console.pages.hosts.details import commands, details
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.errors import not_found
from certferry.console.web.forms import path
from certferry.console.web.listing import Chips, Column, TablePage

NO_NAME: Final = "-"
"""In paths: the clients that name no host."""
COLUMNS: Final = (
    Column("host", "Host", lambda p: p.host or "~"),
    Column("status", "Status", lambda p: p.order[0]),
    Column("expires", "Expires", lambda p: p.order[1]),
    Column("source", "Certificate from", lambda p: str(p.worst.bound.source) if p.worst.bound else "~", low=True),
    Column("address", "Address", lambda p: p.place),
    Column("ingresses", "Ingresses", lambda p: tuple(map(str, p.worst.claims)) or ("~",), low=True),
)


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}/hosts?status=."""
    rows = [place for place in host_places(cluster) if _concerns(place, request.namespace)]
    chips = Chips("status", "Status", lambda p: (p.category,), [(c.key, c.label) for c in CATEGORIES])
    listing: TablePage[HostPlace] = TablePage(rows, COLUMNS, request.query, _text, "host", (chips,))
    probed = cluster.probed(s for place in listing.rows if isinstance(place, HostPlace) for s in place.states)
    fresh = {(place.host, place.place): place for place in places(probed)}
    return request.render(
        "hosts/list.html",
        listing=listing,
        badges=listing.derive(lambda p: ((p.host, p.place), fresh[p.host, p.place].badge)),
        live=f"/live/{cluster.name}",
    )


async def one(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}/hosts/{host}."""
    host = "" if request.part("host") == NO_NAME else request.part("host")
    states = [state for state in cluster.derived.hosts if state.host == host]
    if not states:
        raise not_found(f"host {host}", (path("clusters", cluster.name, "hosts"), "Hosts"))
    parts = await details(cluster, states, host=host)
    return request.render(
        "hosts/host.html",
        host=host,
        details=parts,
        badge=parts.hosts[0].badge,
        commands={place.place: commands(place.worst) for place in parts.hosts},
        live=f"/live/{cluster.name}",
    )


def _concerns(place: HostPlace, namespace: str) -> bool:
    return not namespace or any(name.namespace == namespace for state in place.states for name in state.claims)


def _text(place: HostPlace) -> str:
    bound = place.worst.bound
    words = [place.host or "-", place.place, *map(str, place.worst.claims)]
    if bound:
        words += [str(bound.source), bound.certificate_id, bound.chain.fingerprint if bound.chain else ""]
    return " ".join(words)


PAGES: Final[tuple[Page, ...]] = (cluster_page("/hosts", show), cluster_page("/hosts/{host}", one))
