"""Services & Ingresses > Ingresses: the list. It leads to everything that can be done with one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec
from starlette.responses import Response

from certferry.console.judge.secret import served
from certferry.console.pages.ingresses.synchronize import differences
from certferry.console.pages.request import Page, PageRequest
from certferry.console.state.cluster_view import ClusterContext, DerivedState
from certferry.console.state.objects import ListedIngress
from certferry.console.web.formatting import Badge
from certferry.console.web.listing import Column, TablePage
from certferry.core.diagnosis.usage import Use
from certferry.core.model.elb import LoadBalancer, bind_port
from certferry.core.model.kubernetes import Name
from certferry.core.model.problems import Problem
from certferry.core.translate.ingress_annotations import read as read_annotations
from certferry.core.translate.translate import IngressStatus
from certferry.core.x509.pem import Chain

_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_MILD: Final = ("PathConflict", "AnnotationUnknown", "SniConflict")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One Ingress."""

    ingress: ListedIngress
    status: IngressStatus | None
    """None: it is not for this controller, or names no load balancer."""
    balancer: LoadBalancer | None
    source: str
    uses: tuple[Use, ...]
    problems: tuple[Problem, ...]

    @property
    def chain(self) -> Chain | None:
        """The certificate that ends first among those that its clients are shown."""
        chains = [use.chain for use in self.uses if use.chain and (use.hosts or not self.hosts)]
        return min(chains, key=lambda c: c.not_after, default=None)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Of its rules."""
        return self.ingress.parsed.hosts

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it is really reached."""
        if self.status is None or self.balancer is None or not self.balancer.vip_address:
            return ()
        return tuple(
            f"{self.balancer.vip_address}:{bind_port(self.balancer, port)}" for port, _ in self.status.ports
        )

    @property
    def text(self) -> str:
        """What is searched."""
        secrets = (entry.secret for entry in self.ingress.parsed.tls)
        balancer = self.balancer.name if self.balancer else ""
        return " ".join((str(self.ingress.name), *self.hosts, *secrets, balancer, *self.addresses))


COLUMNS: Final = (
    Column("name", "Ingress Name", lambda r: (r.ingress.name.name, r.ingress.name.namespace)),
    Column("class", "Class", lambda r: r.ingress.parsed.class_name or "~"),
    Column("balancer", "Load Balancer", lambda r: r.balancer.name if r.balancer else "~"),
    Column("hosts", "Domain Names", lambda r: r.hosts or ("~",)),
    Column("source", "Certificate Source", lambda r: r.source),
    Column("expires", "Expires", lambda r: r.chain.not_after if r.chain else _NEVER),
    Column("status", "Status", None),
    Column("operation", "Operation", None),
)


async def show(request: PageRequest) -> Response:
    """GET /clusters/{cluster}/ingresses."""
    cluster = await request.cluster_context()
    listing = TablePage(
        rows(cluster, request.namespace), COLUMNS, request.query, lambda row: row.text, "Ingress"
    )
    return request.render(
        "ingresses/list.html",
        cluster=cluster,
        listing=listing,
        states={row.ingress.name: state(cluster, row) for row in listing.rows},
        differing={row.ingress.name for row in listing.rows if differences(cluster, row.ingress)},
        live=f"/live/{cluster.name}",
    )


def rows(cluster: ClusterContext, namespace: str) -> list[Row]:
    """Every Ingress of `namespace` ("": of all), by name."""
    derived = cluster.derived
    return [
        row(cluster, derived, ingress)
        for name, ingress in sorted(cluster.kube.ingresses.items())
        if not namespace or name.namespace == namespace
    ]


def row(cluster: ClusterContext, derived: DerivedState, ingress: ListedIngress) -> Row:
    """What the list shows of one."""
    status = derived.translation.status.get(ingress.name)
    return Row(
        ingress=ingress,
        status=status,
        balancer=cluster.elb.state.loadbalancers.get(status.loadbalancer) if status else None,
        source=source(ingress),
        uses=derived.by_ingress.get(ingress.name, ()),
        problems=derived.problems.get(("Ingress", ingress.name), ()),
    )


def source(ingress: ListedIngress) -> str:
    """In the words of the form."""
    values, _ = read_annotations(ingress.parsed)
    if values.tls_certificate_ids:
        return "ELB server certificate"
    return "TLS secret" if ingress.parsed.tls else "—"


def state(cluster: ClusterContext, row: Row) -> Badge:
    """Whether it is served as it asks."""
    grave = [p for p in row.problems if p.reason not in _MILD]
    if row.status is None:
        said = row.problems[0].sentence if row.problems else "Its class belongs to another controller."
        return Badge("bad" if row.problems else "idle", "Not served" if row.problems else "Other class", said)
    if grave:
        return Badge("warn" if row.uses else "bad", "Warning", grave[0].sentence)
    if not any(protocol == "HTTPS" for _, protocol in row.status.ports):
        return Badge("good", "HTTP", "It is served without TLS.")
    if not row.uses:
        return Badge("busy", "On its way", "The load balancer does not have it yet.")
    return served(cluster, tuple(use for use in row.uses if use.hosts or not row.hosts))


def listener_owner(cluster: ClusterContext, name: Name) -> Name | None:
    """The Ingress that decides on the listener of `name`, if that is another one."""
    status = cluster.derived.translation.status.get(name)
    return status.master if status and status.master != name else None


PAGES: Final[tuple[Page, ...]] = (Page("/clusters/{cluster}/ingresses", show),)
