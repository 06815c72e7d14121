"""All certificates: one table over every cluster and ELB, with a timeline of expiry."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec
from starlette.responses import Response

from certferry.console.judge.filters import by_expiry
from certferry.console.pages.request import Page, PageRequest
from certferry.console.pages.timeline import draw
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.errors import LoginRequired, PageError
from certferry.console.web.forms import path
from certferry.console.web.listing import Column, TablePage, matching
from certferry.core.model.kubernetes import Name
from certferry.core.x509.pem import Chain, listed

WAIT: Final = 3.0
"""Seconds that the page waits for clusters; slower ones appear when they are read."""


class FleetCertificateRow(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate in one place."""

    chain: Chain
    name: str
    kind: str
    cluster: str
    link: str
    key: str
    """Unique in the table."""
    ingresses: tuple[Name, ...]
    listeners: tuple[str, ...]

    @property
    def text(self) -> str:
        """Text that the search matches."""
        return " ".join((*self.chain.names, self.name, self.cluster, *map(str, self.ingresses)))


COLUMNS: Final = (
    Column("domains", "Domains", lambda r: r.chain.names),
    Column("expires", "Expires", lambda r: r.chain.not_after),
    Column("name", "Certificate", lambda r: r.name),
    Column("kind", "Kind", lambda r: r.kind),
    Column("cluster", "Cluster", lambda r: r.cluster),
    Column("used", "Used by", lambda r: -len(r.listeners)),
    Column("issuer", "Issuer", lambda r: r.chain.issuer, low=True),
)


async def show(request: PageRequest) -> Response:
    """GET /certificates."""
    contexts, errors = _contexts(request)
    await asyncio.gather(*(cluster.ready(WAIT) for cluster in contexts))
    rows: dict[str, FleetCertificateRow] = {}
    for cluster in contexts:
        if not (cluster.kube.ready and cluster.elb.ready):
            errors.append((cluster.name, cluster.error or "it is still being read"))
            continue
        for row in (*_elb_rows(cluster), *_secret_rows(cluster)):
            rows[row.key] = _merged(rows.get(row.key), row)
    ordered = sorted(rows.values(), key=lambda row: (row.chain.not_after, row.key))
    listing = TablePage(
        ordered,
        COLUMNS,
        request.query,
        lambda row: row.text,
        "certificate",
        (by_expiry(lambda row: row.chain, datetime.now(UTC)),),
    )
    shown = matching(ordered, listing.search, lambda row: row.text)
    lives = [(r.chain.not_after, r.chain.not_before, listed(r.chain.names) or r.name) for r in shown]
    return request.render(
        "clusters/certificates.html",
        listing=listing,
        timeline=draw(lives, datetime.now(UTC), *(access.limits for access in request.console.fleet.clusters[:1])),
        errors=errors,
        live="/live",
    )


def _contexts(request: PageRequest) -> tuple[list[ClusterContext], list[tuple[str, str]]]:
    """Return the clusters that the user may see, and (name, sentence) of the others."""
    contexts, errors = [], []
    for access in request.console.fleet.clusters:
        try:
            contexts.append(request.context_of(access))
        except LoginRequired:
            errors.append((access.name, "log in to its ELB first"))
        except PageError as error:
            errors.append((access.name, error.sentence))
    return contexts, errors


def _merged(before: FleetCertificateRow | None, row: FleetCertificateRow) -> FleetCertificateRow:
    """Return one row for a certificate of an ELB that two clusters share."""
    if before is None:
        return row
    return msgspec.structs.replace(
        before,
        cluster=f"{before.cluster}, {row.cluster}",
        ingresses=(*before.ingresses, *row.ingresses),
        listeners=tuple(dict.fromkeys((*before.listeners, *row.listeners))),
    )


def _elb_rows(cluster: ClusterContext) -> Iterator[FleetCertificateRow]:
    for certificate in cluster.elb.state.certificates.values():
        uses = cluster.derived.by_certificate.get(certificate.id, ())
        if certificate.chain is not None:
            yield FleetCertificateRow(
                chain=certificate.chain,
                name=certificate.name or certificate.id,
                kind="ELB certificate",
                cluster=cluster.name,
                link=path("clusters", cluster.name, "elb", "certificates", certificate.id),
                key=f"{cluster.login.site} {certificate.id}",
                ingresses=tuple(dict.fromkeys(i for use in uses for i in use.ingresses)),
                listeners=tuple(dict.fromkeys(_port(cluster, use.listener) for use in uses)),
            )


def _secret_rows(cluster: ClusterContext) -> Iterator[FleetCertificateRow]:
    """Yield Secrets that no listener uses; one in use is in the table as its ELB certificate."""
    for name, secret in cluster.kube.secrets.items():
        if secret.parsed.chain and not cluster.derived.by_secret.get(name):
            yield FleetCertificateRow(
                chain=secret.parsed.chain,
                name=str(name),
                kind="Secret",
                cluster=cluster.name,
                link=path("clusters", cluster.name, "secrets", name.namespace, name.name),
                key=f"{cluster.name} {name}",
                ingresses=cluster.derived.referring.get(name, ()),
                listeners=(),
            )


def _port(cluster: ClusterContext, listener_id: str) -> str:
    listener = cluster.elb.state.listeners[listener_id]
    balancer = cluster.elb.state.loadbalancers.get(listener.loadbalancer_id)
    name = balancer.name if balancer else listener.loadbalancer_id
    return f"{name} {listener.protocol}/{listener.protocol_port}"


PAGES: Final[tuple[Page, ...]] = (Page("/certificates", show),)
