"""Delete an object: what would break is said first; what is in use wants its name typed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from starlette.responses import Response

from certferry.console.judge import deletion as impact
from certferry.console.pages.objects.kinds import OpenedObject, open_object
from certferry.console.web.page import Page
from certferry.console.web.request import PageRequest, refuse
from certferry.core.model.managers import managers
from certferry.kube.client.client import INGRESS, SECRET


async def show(visit: PageRequest) -> Response:
    """GET …/delete."""
    it = await open_object(visit)
    return visit.render(
        "shared/delete.html",
        desk=it.desk,
        it=it,
        impact=_impact(it),
        used=_used(it),
        managers=managers(it.body),
    )


async def act(visit: PageRequest) -> Response:
    """POST …/delete."""
    it = await open_object(visit)
    if _used(it) and (await visit.form()).text("typed") != it.name.name:
        refuse({"typed": f"Type {it.name.name} to delete what is in use."})
    async with it.desk.writing() as kube:
        await kube.delete(it.kind, it.name.name, it.name.namespace)
    return visit.redirect(it.list, f"{it.kind.name} {it.name} is deleted.")


def _impact(it: OpenedObject) -> list[str]:
    derived = it.desk.derived
    if it.kind is SECRET:
        return impact.of_secret(derived, it.name)
    if it.kind is INGRESS and it.name in derived.view.ingresses:
        return impact.of_ingress(derived, it.name, it.desk.options, datetime.now(UTC))
    return []


def _used(it: OpenedObject) -> bool:
    derived = it.desk.derived
    if it.kind is SECRET:
        return bool(derived.referring.get(it.name) or derived.by_secret.get(it.name))
    return it.kind is INGRESS and bool(derived.by_ingress.get(it.name))


_ONE: Final = "/clusters/{cluster}/{kind}/{namespace}/{name}/delete"
PAGES: Final[tuple[Page, ...]] = (Page(_ONE, show, act, view_role="member"),)
