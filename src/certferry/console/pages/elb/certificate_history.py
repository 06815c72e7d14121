"""ELB > Certificates > History: earlier contents, rollback, break-glass, and who did what.

All of it needs our ELB's extensions; on a vendor's ELB the page says so.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.responses import Response

from certferry.console.pages.elb.certificate_edit import follow
from certferry.console.pages.elb.certificates import found, lock_of
from certferry.console.web.errors import FormErrors
from certferry.console.web.page import Page
from certferry.console.web.request import PageRequest, path, refuse
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbError

RECORDS: Final = 50
"""Of the audit log, on the page."""
HOURS: Final = (1, 4, 12, 24)
"""How long an emergency may be declared for, to choose from."""


async def show(visit: PageRequest) -> Response:
    """GET …/{id}/history."""
    desk = await visit.cluster_context()
    certificate = found(visit, desk)
    elb, there = desk.elb.client, desk.elb.extensions
    versions = await extensions.versions(elb, certificate.id) if "versions" in there else []
    records = []
    if "audit" in there:
        records = [r async for r in extensions.audit(elb, certificate=certificate.id)][-RECORDS:][::-1]
    status = await extensions.status(elb, certificate.id) if "status" in there else None
    return visit.render(
        "elb_certificates/history.html",
        desk=desk,
        certificate=certificate,
        lock=lock_of(visit, desk, certificate),
        versions=versions,
        records=records,
        placed=status,
        there=there,
        state=desk.elb.state,
        live=f"/live/{desk.name}",
    )


async def show_rollback(visit: PageRequest) -> Response:
    """GET …/{id}/rollback?version=n: both contents beside each other."""
    desk = await visit.cluster_context()
    certificate = found(visit, desk)
    versions = await extensions.versions(desk.elb.client, certificate.id)
    wanted = visit.query.get("version", "")
    version = next((v for v in versions if str(v.number) == wanted and not v.current), None)
    if version is None:
        raise FormErrors({"": f"There is no earlier version {wanted[:20]}."}, 404)
    current = next((v for v in versions if v.current), None)
    return visit.render(
        "elb_certificates/rollback.html", desk=desk, certificate=certificate, version=version, current=current
    )


async def roll_back(visit: PageRequest) -> Response:
    """POST …/{id}/rollback."""
    desk = await visit.cluster_context()
    certificate = found(visit, desk)
    form = await visit.form()
    errors: dict[str, str] = {}
    number = form.number("version", 1, 10**9, errors)
    refuse(errors)
    try:
        made = await extensions.roll_back(desk.elb.client, certificate.id, number, form.text("reason"))
    except ElbError as error:
        raise _refusal(error) from None
    await desk.elb.refresh()
    said = f"Certificate {certificate.name or certificate.id} is rolled back."
    if made.chain is None or not desk.derived.by_certificate.get(certificate.id):
        return visit.redirect(_history(visit), said)
    return visit.redirect(follow(visit, desk, certificate, made.chain), said)


async def show_break_glass(visit: PageRequest) -> Response:
    """GET …/{id}/break-glass."""
    desk = await visit.cluster_context()
    return visit.render(
        "elb_certificates/break_glass.html", desk=desk, certificate=found(visit, desk), hours=HOURS
    )


async def break_glass(visit: PageRequest) -> Response:
    """POST …/{id}/break-glass: open it, or end it."""
    desk = await visit.cluster_context()
    certificate = found(visit, desk)
    form = await visit.form()
    try:
        if form.text("end"):
            await extensions.close_break_glass(desk.elb.client, certificate.id)
            said = "The emergency is over; the owner decides again."
        else:
            errors: dict[str, str] = {}
            hours = form.number("hours", 1, max(HOURS), errors)
            if not form.text("reason"):
                errors["reason"] = "Say why: it is kept in the audit log and told each hour."
            refuse(errors)
            until = datetime.now(UTC) + timedelta(hours=hours or 1)
            await extensions.open_break_glass(desk.elb.client, certificate.id, form.text("reason"), until)
            said = "Break-glass is open: admins may modify the certificate until then."
    except ElbError as error:
        raise _refusal(error) from None
    await desk.elb.refresh()
    return visit.redirect(_history(visit), said)


def _history(visit: PageRequest) -> str:
    return path("clusters", visit.part("cluster"), "elb", "certificates", visit.part("id"), "history")


def _refusal(error: ElbError) -> Exception:
    return FormErrors({"": error.message}, error.status) if 400 <= error.status < 500 else error


_ONE: Final = "/clusters/{cluster}/elb/certificates/{id}"
PAGES: Final[tuple[Page, ...]] = (
    Page(f"{_ONE}/history", show),
    Page(f"{_ONE}/rollback", show_rollback, roll_back, view_role="member"),
    Page(f"{_ONE}/break-glass", show_break_glass, break_glass, view_role="admin", edit_role="admin"),
)
