"""All certificates: one table over every cluster and ELB, with a picture of when they end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

import msgspec
from starlette.responses import Response

from certferry.console.pages.timeline import draw
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.errors import LoginRequired, PageError
from certferry.console.web.listing import Column, TablePage
from certferry.console.web.page import Page
from certferry.console.web.request import PageRequest, path
from certferry.core.model.kubernetes import Name
from certferry.core.x509.pem import Chain, listed

PATIENCE: Final = 3.0
"""Seconds that the page waits for clusters; those that need longer come when they come."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate at one place."""

    chain: Chain
    name: str
    kind: str
    cluster: str
    link: str
    key: str
    """Tells rows apart."""
    ingresses: tuple[Name, ...]
    listeners: tuple[str, ...]

    @property
    def text(self) -> str:
        """What is searched."""
        return " ".join((*self.chain.names, self.name, self.cluster, *map(str, self.ingresses)))


COLUMNS: Final = (
    Column("domains", "Domains", lambda r: r.chain.names),
    Column("expires", "Expires", lambda r: r.chain.not_after),
    Column("name", "Certificate", lambda r: r.name),
    Column("kind", "Kind", lambda r: r.kind),
    Column("cluster", "Cluster", lambda r: r.cluster),
    Column("used", "Where it is used", lambda r: -len(r.listeners)),
    Column("issuer", "Issuer", lambda r: r.chain.issuer),
)


async def show(visit: PageRequest) -> Response:
    """GET /certificates."""
    desks, troubles = [], []
    for cluster in visit.console.fleet.clusters:
        try:
            desks.append(visit.desk_of(cluster))
        except (LoginRequired, PageError) as stop:
            sentence = "log in to its ELB first" if isinstance(stop, LoginRequired) else stop.sentence
            troubles.append((cluster.name, sentence))
    waits = (w for d in desks for w in (d.kube.until_ready(PATIENCE), d.elb.until_ready(PATIENCE)))
    await asyncio.gather(*waits)
    rows: dict[str, Row] = {}
    for desk in desks:
        if desk.kube.ready and desk.elb.ready:
            for row in _rows(desk):
                rows[row.key] = _joined(rows.get(row.key), row)
        else:
            troubles.append((desk.name, desk.trouble or "it is still being read"))
    ordered = sorted(rows.values(), key=lambda row: (row.chain.not_after, row.key))
    listing = TablePage(ordered, COLUMNS, visit.query, lambda row: row.text)
    now = datetime.now(UTC)
    ends = [(r.chain.not_after, listed(r.chain.names) or r.name) for r in _found(ordered, listing.search)]
    return visit.render(
        "clusters/certificates.html",
        listing=listing,
        picture=draw(ends, now),
        troubles=troubles,
        live="/live",
    )


def _joined(before: Row | None, row: Row) -> Row:
    """One row for a certificate of an ELB that two clusters share."""
    if before is None:
        return row
    return msgspec.structs.replace(
        before,
        cluster=f"{before.cluster}, {row.cluster}",
        ingresses=(*before.ingresses, *row.ingresses),
        listeners=tuple(dict.fromkeys((*before.listeners, *row.listeners))),
    )


def _found(rows: list[Row], search: str) -> list[Row]:
    words = search.lower().split()
    return [row for row in rows if all(w in row.text.lower() for w in words)] if words else rows


def _rows(desk: ClusterContext) -> list[Row]:
    derived, state = desk.derived, desk.elb.state
    found = []
    for certificate in state.certificates.values():
        uses = derived.by_certificate.get(certificate.id, ())
        if certificate.chain is None:
            continue
        link = f"{path('clusters', desk.name, 'elb', 'certificates')}?q={certificate.id}"
        found.append(
            Row(
                chain=certificate.chain,
                name=certificate.name or certificate.id,
                kind="ELB certificate",
                cluster=desk.name,
                link=link,
                key=f"{desk.login.site} {certificate.id}",
                ingresses=tuple(dict.fromkeys(i for use in uses for i in use.ingresses)),
                listeners=tuple(dict.fromkeys(_port(desk, use.listener) for use in uses)),
            )
        )
    for name, thing in desk.kube.secrets.items():
        # a Secret in use is in the table as the certificate that follows it
        if thing.secret.chain and not derived.by_secret.get(name):
            link = f"{path('clusters', desk.name, 'secrets')}?namespace={name.namespace}&q={name.name}"
            found.append(
                Row(
                    chain=thing.secret.chain,
                    name=str(name),
                    kind="Secret",
                    cluster=desk.name,
                    link=link,
                    key=f"{desk.name} {name}",
                    ingresses=derived.referring.get(name, ()),
                    listeners=(),
                )
            )
    return found


def _port(desk: ClusterContext, identity: str) -> str:
    listener = desk.elb.state.listeners[identity]
    balancer = desk.elb.state.loadbalancers.get(listener.loadbalancer_id)
    return f"{balancer.name if balancer else listener.loadbalancer_id} {listener.protocol}/{listener.protocol_port}"


PAGES: Final[tuple[Page, ...]] = (Page("/certificates", show),)
