"""Services & Ingresses > Ingresses: the list."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.responses import Response

from certferry.console.judge.filters import by_health, by_manager
from certferry.console.judge.hosts import PER_ROW, WRONG, CertificateExpiry, own_expiry, served_badge, severity
from certferry.console.pages.ingresses.synchronize import differences
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext, DerivedState
from certferry.console.state.objects import ListedIngress
from certferry.console.web.formatting import Badge
from certferry.console.web.listing import Chips, Column, TablePage, UnshownRow, build_rows
from certferry.core.diagnosis.host_state import HostState
from certferry.core.diagnosis.usage import Use
from certferry.core.model.elb import LoadBalancer, bind_port
from certferry.core.model.kubernetes import Name
from certferry.core.model.problems import Problem
from certferry.core.translate.ingress_annotations import read as read_annotations
from certferry.core.translate.translate import IngressStatus

SOURCES: Final = ("TLS secret", "ELB server certificate")
_NO_CERTIFICATE: Final = (True, True, float("inf"))
_MILD: Final = ("PathConflict", "AnnotationUnknown", "SniConflict")
"""Reasons that do not make the status a warning."""


class IngressRow(msgspec.Struct, frozen=True, kw_only=True):
    """One Ingress."""

    ingress: ListedIngress
    status: IngressStatus | None
    """None: another controller's class, or no load balancer."""
    balancer: LoadBalancer | None
    source: str
    uses: tuple[Use, ...]
    host_states: tuple[HostState, ...]
    expiry: CertificateExpiry | None
    """The certificate that the Ingress wants, the first to expire."""
    problems: tuple[Problem, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts of its rules."""
        return self.ingress.parsed.hosts

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses and ports that are really bound."""
        if self.status is None or self.balancer is None or not self.balancer.vip_address:
            return ()
        return tuple(f"{self.balancer.vip_address}:{bind_port(self.balancer, port)}" for port, _ in self.status.ports)

    @property
    def text(self) -> str:
        """Text that the search matches."""
        secrets = (entry.secret for entry in self.ingress.parsed.tls)
        balancer = self.balancer.name if self.balancer else ""
        return " ".join((str(self.ingress.name), *self.hosts, *secrets, balancer, *self.addresses))


COLUMNS: Final = (
    Column("name", "Ingress Name", lambda r: (r.ingress.name.name, r.ingress.name.namespace)),
    Column("class", "Class", lambda r: r.ingress.parsed.class_name or "~", low=True),
    Column("balancer", "Load Balancer", lambda r: r.balancer.name if r.balancer else "~", low=True),
    Column("hosts", "Domain Names", lambda r: r.hosts or ("~",)),
    Column("source", "Certificate Source", lambda r: r.source, low=True),
    Column("expires", "Expires", lambda r: r.expiry.order if r.expiry else _NO_CERTIFICATE),
    Column("status", "Status", lambda r: (severity(r.host_states), not r.problems)),
    Column("operation", "Operation", None),
)


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}/ingresses."""
    rows = _rows(cluster, request.namespace)
    filters = (
        by_health(cluster, lambda row: row.ingress.name),
        Chips("source", "Certificate source", lambda row: (row.source,), [(s, s) for s in SOURCES]),
        by_manager(cluster.kube.ingresses.values(), lambda row: row.ingress),
    )
    listing: TablePage[IngressRow] = TablePage(rows, COLUMNS, request.query, lambda row: row.text, "Ingress", filters)
    return request.render(
        "ingresses/list.html",
        listing=listing,
        states=listing.derive(lambda row: (row.ingress.name, row_badge(cluster, row))),
        differing=listing.derive(lambda row: (row.ingress.name, bool(differences(cluster, row.ingress)))),
        live=f"/live/{cluster.name}",
    )


def _rows(cluster: ClusterContext, namespace: str) -> list[IngressRow | UnshownRow]:
    """Return the Ingresses of `namespace` ("": all), by name."""
    derived, ingresses = cluster.derived, sorted(cluster.kube.ingresses.items())
    chosen = [ingress for name, ingress in ingresses if namespace in ("", name.namespace)]
    return build_rows(chosen, lambda ingress: row(cluster, derived, ingress), lambda ingress: ingress.name)


def row(cluster: ClusterContext, derived: DerivedState, ingress: ListedIngress) -> IngressRow:
    """Return the row of an Ingress."""
    status = derived.translation.status.get(ingress.name)
    hosts = derived.hosts_by_ingress.get(ingress.name, ())
    return IngressRow(
        ingress=ingress,
        status=status,
        balancer=cluster.elb.state.loadbalancers.get(status.loadbalancer) if status else None,
        source=_source(ingress),
        uses=derived.by_ingress.get(ingress.name, ()),
        host_states=hosts,
        expiry=own_expiry(hosts, ingress.name, derived.at, cluster.access.limits),
        problems=derived.problems.get(("Ingress", ingress.name), ()),
    )


def _source(ingress: ListedIngress) -> str:
    """Return the certificate source in the words of the form."""
    values, _ = read_annotations(ingress.parsed)
    if values.tls_certificate_ids:
        return SOURCES[1]
    return SOURCES[0] if ingress.parsed.tls else "—"


def row_badge(cluster: ClusterContext, row: IngressRow) -> Badge:
    """Return the status: problems first, then whether clients get the certificate."""
    if row.status is None:
        if row.problems:
            return Badge("bad", "Not served", row.problems[0].sentence)
        return Badge("idle", "Other class", "Its class belongs to another controller.")
    if not any(protocol == "HTTPS" for _, protocol in row.status.ports):
        return _warning(row) or Badge("good", "HTTP", "It is served without TLS.")
    hosts = cluster.probed(row.host_states, PER_ROW)
    pending = any(not host.in_step and host.desired for host in hosts)
    badge = served_badge(hosts)
    if badge.word == WRONG and not pending:
        return badge
    if warning := _warning(row):
        return warning
    if pending or not row.uses:
        return Badge("busy", "On its way", "The load balancer does not have it yet.")
    return badge


def _warning(row: IngressRow) -> Badge | None:
    problem = next((p for p in row.problems if p.reason not in _MILD), None)
    return Badge("warn" if row.uses else "bad", "Warning", problem.sentence) if problem else None


def listener_owner(cluster: ClusterContext, name: Name) -> Name | None:
    """Return the listener owner of Ingress `name` if that is another Ingress."""
    status = cluster.derived.translation.status.get(name)
    return status.listener_owner if status and status.listener_owner != name else None


PAGES: Final[tuple[Page, ...]] = (cluster_page("/ingresses", show),)
