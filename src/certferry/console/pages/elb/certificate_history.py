"""ELB > Certificates: one certificate with its hosts, versions, rollback, break-glass and the audit log.

The last four need the extensions of Certferry's ELB; on a vendor's ELB the page says so.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.responses import Response

from certferry.console.pages.elb.certificate_edit import track
from certferry.console.pages.elb.certificates import certificate_badge, lock_of, requested_certificate
from certferry.console.pages.hosts.details import details
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.errors import FormErrors
from certferry.console.web.forms import path, refuse
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbError

RECORDS: Final = 50
"""Most records of the audit log on the page."""
HOURS: Final = (1, 4, 12, 24)
"""Durations of break-glass to choose from."""


async def to_page(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/{id}/history: the address of earlier versions."""
    requested_certificate(request, cluster)
    return request.redirect(_page(request))


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/{id}."""
    certificate = requested_certificate(request, cluster)
    elb, available = cluster.elb.client, cluster.elb.extensions
    versions = await extensions.versions(elb, certificate.id) if "versions" in available else []
    records = []
    if "audit" in available:
        records = [r async for r in extensions.audit(elb, certificate=certificate.id)][-RECORDS:][::-1]
    status = await extensions.status(elb, certificate.id) if "status" in available else None
    return request.render(
        "elb_certificates/certificate.html",
        certificate=certificate,
        badge=certificate_badge(cluster, certificate),
        details=await details(cluster, cluster.derived.hosts_by_certificate.get(certificate.id, ())),
        lock=lock_of(request, cluster, certificate),
        versions=versions,
        records=records,
        status=status,
        available=available,
        state=cluster.elb.state,
        live=f"/live/{cluster.name}",
    )


async def show_rollback(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/{id}/rollback?version=n: both versions side by side."""
    certificate = requested_certificate(request, cluster)
    versions = await extensions.versions(cluster.elb.client, certificate.id)
    wanted = request.query.get("version", "")
    version = next((v for v in versions if str(v.number) == wanted and not v.current), None)
    if version is None:
        raise FormErrors({"": f"There is no earlier version {wanted[:20]}."}, 404)
    current = next((v for v in versions if v.current), None)
    return request.render("elb_certificates/rollback.html", certificate=certificate, version=version, current=current)


async def roll_back(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/{id}/rollback."""
    certificate = requested_certificate(request, cluster)
    form = await request.form()
    errors: dict[str, str] = {}
    number = form.number("version", 1, 10**9, errors)
    refuse(errors)
    try:
        restored = await extensions.roll_back(cluster.elb.client, certificate.id, number, form.text("reason"))
    except ElbError as error:
        raise _refusal(error) from None
    await cluster.elb.refresh()
    message = f"Certificate {certificate.name or certificate.id} was rolled back."
    if restored.chain is None or not cluster.derived.by_certificate.get(certificate.id):
        return request.redirect(_page(request), message)
    return request.redirect(track(request, cluster, certificate, restored.chain), message)


async def show_break_glass(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/{id}/break-glass."""
    return request.render(
        "elb_certificates/break_glass.html", certificate=requested_certificate(request, cluster), hours=HOURS
    )


async def break_glass(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/{id}/break-glass: open or end it."""
    certificate = requested_certificate(request, cluster)
    form = await request.form()
    try:
        if form.text("end"):
            await extensions.close_break_glass(cluster.elb.client, certificate.id)
            message = "Break-glass has ended. The Secret decides again."
        else:
            errors: dict[str, str] = {}
            hours = form.number("hours", 1, max(HOURS), errors)
            if not form.text("reason"):
                errors["reason"] = "Enter a reason. It is recorded in the audit log and reported each hour."
            refuse(errors)
            until = datetime.now(UTC) + timedelta(hours=hours or 1)
            await extensions.open_break_glass(cluster.elb.client, certificate.id, form.text("reason"), until)
            message = "Break-glass is open. Admins may modify the certificate until it ends."
    except ElbError as error:
        raise _refusal(error) from None
    await cluster.elb.refresh()
    return request.redirect(_page(request), message)


def _page(request: PageRequest) -> str:
    return path("clusters", request.part("cluster"), "elb", "certificates", request.part("id"))


def _refusal(error: ElbError) -> Exception:
    return FormErrors({"": error.message}, error.status) if 400 <= error.status < 500 else error


_ONE: Final = "/elb/certificates/{id}"
PAGES: Final[tuple[Page, ...]] = (
    cluster_page(_ONE, show),
    cluster_page(f"{_ONE}/history", to_page),
    cluster_page(f"{_ONE}/rollback", show_rollback, roll_back, view_role="member"),
    cluster_page(f"{_ONE}/break-glass", show_break_glass, break_glass, view_role="admin", edit_role="admin"),
)
