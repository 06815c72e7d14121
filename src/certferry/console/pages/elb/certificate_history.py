"""ELB > Certificates > History: earlier contents, rollback, break-glass, and who did what.

All of it needs our ELB's extensions; on a vendor's ELB the page says so.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.responses import Response

from certferry.console.pages.elb.certificate_edit import follow
from certferry.console.pages.elb.certificates import found, lock_of
from certferry.console.pages.request import Page, PageRequest
from certferry.console.web.errors import FormErrors
from certferry.console.web.forms import path, refuse
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbError

RECORDS: Final = 50
"""Of the audit log, on the page."""
HOURS: Final = (1, 4, 12, 24)
"""How long an emergency may be declared for, to choose from."""


async def show(request: PageRequest) -> Response:
    """GET …/{id}/history."""
    cluster = await request.cluster_context()
    certificate = found(request, cluster)
    elb, there = cluster.elb.client, cluster.elb.extensions
    versions = await extensions.versions(elb, certificate.id) if "versions" in there else []
    records = []
    if "audit" in there:
        records = [r async for r in extensions.audit(elb, certificate=certificate.id)][-RECORDS:][::-1]
    status = await extensions.status(elb, certificate.id) if "status" in there else None
    return request.render(
        "elb_certificates/history.html",
        cluster=cluster,
        certificate=certificate,
        lock=lock_of(request, cluster, certificate),
        versions=versions,
        records=records,
        placed=status,
        there=there,
        state=cluster.elb.state,
        live=f"/live/{cluster.name}",
    )


async def show_rollback(request: PageRequest) -> Response:
    """GET …/{id}/rollback?version=n: both contents beside each other."""
    cluster = await request.cluster_context()
    certificate = found(request, cluster)
    versions = await extensions.versions(cluster.elb.client, certificate.id)
    wanted = request.query.get("version", "")
    version = next((v for v in versions if str(v.number) == wanted and not v.current), None)
    if version is None:
        raise FormErrors({"": f"There is no earlier version {wanted[:20]}."}, 404)
    current = next((v for v in versions if v.current), None)
    return request.render(
        "elb_certificates/rollback.html",
        cluster=cluster,
        certificate=certificate,
        version=version,
        current=current,
    )


async def roll_back(request: PageRequest) -> Response:
    """POST …/{id}/rollback."""
    cluster = await request.cluster_context()
    certificate = found(request, cluster)
    form = await request.form()
    errors: dict[str, str] = {}
    number = form.number("version", 1, 10**9, errors)
    refuse(errors)
    try:
        made = await extensions.roll_back(cluster.elb.client, certificate.id, number, form.text("reason"))
    except ElbError as error:
        raise _refusal(error) from None
    await cluster.elb.refresh()
    said = f"Certificate {certificate.name or certificate.id} is rolled back."
    if made.chain is None or not cluster.derived.by_certificate.get(certificate.id):
        return request.redirect(_history(request), said)
    return request.redirect(follow(request, cluster, certificate, made.chain), said)


async def show_break_glass(request: PageRequest) -> Response:
    """GET …/{id}/break-glass."""
    cluster = await request.cluster_context()
    return request.render(
        "elb_certificates/break_glass.html", cluster=cluster, certificate=found(request, cluster), hours=HOURS
    )


async def break_glass(request: PageRequest) -> Response:
    """POST …/{id}/break-glass: open it, or end it."""
    cluster = await request.cluster_context()
    certificate = found(request, cluster)
    form = await request.form()
    try:
        if form.text("end"):
            await extensions.close_break_glass(cluster.elb.client, certificate.id)
            said = "The emergency is over; the owner decides again."
        else:
            errors: dict[str, str] = {}
            hours = form.number("hours", 1, max(HOURS), errors)
            if not form.text("reason"):
                errors["reason"] = "Say why: it is kept in the audit log and told each hour."
            refuse(errors)
            until = datetime.now(UTC) + timedelta(hours=hours or 1)
            await extensions.open_break_glass(cluster.elb.client, certificate.id, form.text("reason"), until)
            said = "Break-glass is open: admins may modify the certificate until then."
    except ElbError as error:
        raise _refusal(error) from None
    await cluster.elb.refresh()
    return request.redirect(_history(request), said)


def _history(request: PageRequest) -> str:
    return path("clusters", request.part("cluster"), "elb", "certificates", request.part("id"), "history")


def _refusal(error: ElbError) -> Exception:
    return FormErrors({"": error.message}, error.status) if 400 <= error.status < 500 else error


_ONE: Final = "/clusters/{cluster}/elb/certificates/{id}"
PAGES: Final[tuple[Page, ...]] = (
    Page(f"{_ONE}/history", show),
    Page(f"{_ONE}/rollback", show_rollback, roll_back, view_role="member"),
    Page(f"{_ONE}/break-glass", show_break_glass, break_glass, view_role="admin", edit_role="admin"),
)
