"""ELB > Certificates: the list, and locks.

A certificate that follows a Secret is changed in the Secret: Modify and Delete are disabled, with the reason and
a link to the Secret.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec
from starlette.responses import Response

from certferry.console.judge.filters import by_expiry
from certferry.console.judge.hosts import PER_ROW, served_badge, severity
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.state.elb_feed import CertificateDetails
from certferry.console.web.errors import not_found
from certferry.console.web.formatting import Badge
from certferry.console.web.forms import path
from certferry.console.web.listing import Chips, Column, TablePage, UnshownRow, build_rows
from certferry.core.diagnosis.usage import Use
from certferry.core.model.elb import OWN_PREFIX, Certificate
from certferry.core.model.kubernetes import Name
from certferry.core.model.naming import described

USES: Final = (("used", "In use"), ("unused", "Not in use"))
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """The reason that a certificate cannot be changed here, and a link to where it can."""

    reason: str
    link: str = ""
    label: str = ""
    word: str = "TLS secret"


class ElbCertificateRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the list of ELB certificates."""

    certificate: Certificate
    details: CertificateDetails
    uses: tuple[Use, ...]
    lock: Lock | None
    severity: int
    """Sort key: the worst host first."""

    @property
    def text(self) -> str:
        """Text that the search matches."""
        c = self.certificate
        names = c.chain.names if c.chain else ()
        return " ".join((c.name, c.id, *c.domain, *names, self.lock.label if self.lock else ""))


COLUMNS: Final = (
    Column("name", "Name", lambda r: r.certificate.name or r.certificate.id),
    Column("type", "Type", lambda r: r.certificate.type, low=True),
    Column("domains", "Domains", lambda r: r.certificate.chain.names if r.certificate.chain else ("~",)),
    Column("expires", "Expires", lambda r: r.certificate.chain.not_after if r.certificate.chain else _NEVER),
    Column("listeners", "Listener (Frontend Protocol/Port)", lambda r: -len(r.uses), low=True),
    Column("source", "Source", lambda r: r.lock.label if r.lock else ""),
    Column("status", "Status", lambda r: r.severity),
    Column("operation", "Operation", None),
)


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}/elb/certificates."""
    filters = (
        by_expiry(lambda row: row.certificate.chain, cluster.derived.at),
        Chips("use", "Use", lambda row: ("used" if row.uses else "unused",), USES),
    )
    listing: TablePage[ElbCertificateRow] = TablePage(
        rows(request, cluster), COLUMNS, request.query, lambda row: row.text, "certificate", filters
    )
    return request.render(
        "elb_certificates/list.html",
        listing=listing,
        states=listing.derive(lambda row: (row.certificate.id, certificate_badge(cluster, row.certificate))),
        state=cluster.elb.state,
        live=f"/live/{cluster.name}",
    )


def rows(request: PageRequest, cluster: ClusterContext) -> list[ElbCertificateRow | UnshownRow]:
    """Return the certificates of the ELB, by name."""
    uses = cluster.derived.by_certificate

    def row(c: Certificate) -> ElbCertificateRow:
        return ElbCertificateRow(
            certificate=c,
            details=cluster.elb.details.get(c.id) or CertificateDetails(id=c.id),
            uses=uses.get(c.id, ()),
            lock=lock_of(request, cluster, c),
            severity=severity(cluster.derived.hosts_by_certificate.get(c.id, ())),
        )

    ordered = sorted(cluster.elb.state.certificates.values(), key=lambda c: (c.name, c.id))
    return build_rows(ordered, row, lambda c: c.name or c.id)


def certificate_badge(cluster: ClusterContext, c: Certificate) -> Badge:
    """Return the status of a certificate."""
    if c.type != "server":
        return Badge("idle", "CA certificate")
    if c.break_glass:
        return Badge("bad", c.break_glass.kind.capitalize(), f"{c.break_glass.user}: {c.break_glass.reason}")
    if hosts := cluster.derived.hosts_by_certificate.get(c.id):
        return served_badge(cluster.probed(hosts, PER_ROW))
    if cluster.derived.by_certificate.get(c.id):
        return Badge("idle", "Not selected", "Its listeners select another certificate for each host.")
    return Badge("idle", "Not in use", "No listener uses it.")


def lock_of(request: PageRequest, cluster: ClusterContext, certificate: Certificate) -> Lock | None:
    """Return why a certificate cannot be changed here; None if it can."""
    description = described(certificate.description)
    follows = certificate.owner or ("secret_id" in description and certificate.name.startswith(OWN_PREFIX))
    if follows:
        return _followed_lock(request, cluster, certificate)
    if certificate.protection_status == "consoleProtection":
        reason = certificate.protection_reason or "no reason given"
        return Lock(reason=f"Modification protection is on: {reason}.", word="Protected")
    return None


def _followed_lock(request: PageRequest, cluster: ClusterContext, certificate: Certificate) -> Lock:
    source = certificate.source
    uses = cluster.derived.by_certificate.get(certificate.id, ())
    here = next((use.secret for use in uses if use.secret), None) or _by_uid(cluster, certificate)
    if here is None and source and source.cluster == cluster.access.name:
        here = Name(source.namespace, source.secret)
    owner = cluster.name if here else source.cluster if source else certificate.owner or "another cluster"
    name = here or (Name(source.namespace, source.secret) if source else None)
    configured = any(c.name == owner for c in request.console.fleet.clusters)
    followed = f"Secret {name}" if name else "its TLS Secret"
    link = ""
    if name and configured and cluster.may("member"):
        link = path("clusters", owner, "secrets", name.namespace, name.name)
    return Lock(
        reason=f"It follows {followed} of cluster {owner}. Update the Secret; the certificate follows.",
        link=link,
        label=str(name) if name else owner,
    )


def _by_uid(cluster: ClusterContext, certificate: Certificate) -> Name | None:
    uid = described(certificate.description).get("secret_id")
    return next((name for name, secret in cluster.kube.secrets.items() if secret.uid == uid), None) if uid else None


def requested_certificate(request: PageRequest, cluster: ClusterContext) -> Certificate:
    """Return the certificate in the path. Raises ``PageError`` if there is none."""
    certificate = cluster.elb.state.certificates.get(request.part("id"))
    if certificate is None:
        raise not_found(f"certificate {request.part('id')}", (list_path(cluster), "Certificates"))
    return certificate


def list_path(cluster: ClusterContext) -> str:
    """Return the path of the list."""
    return path("clusters", cluster.name, "elb", "certificates")


def may_change(cluster: ClusterContext, certificate: Certificate, lock: Lock | None) -> bool:
    """Return whether the user may modify it: not locked, or break-glass is open and the user is an admin."""
    return lock is None or (certificate.break_glass is not None and cluster.may("admin"))


PAGES: Final[tuple[Page, ...]] = (cluster_page("/elb/certificates", show),)
