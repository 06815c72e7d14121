"""Delete an object. The dialog shows the consequences; an object in use needs its name typed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from starlette.responses import Response

from certferry.console.judge import deletion
from certferry.console.pages.objects.kinds import OpenedObject, open_object
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.forms import refuse
from certferry.core.model.managers import managers
from certferry.kube.client.client import INGRESS, SECRET


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/delete."""
    opened = await open_object(request, cluster)
    return request.render(
        "shared/delete.html", object=opened, impact=_impact(opened), used=_used(opened), managers=managers(opened.body)
    )


async def act(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/delete."""
    opened = await open_object(request, cluster)
    if _used(opened) and (await request.form()).text("typed") != opened.name.name:
        refuse({"typed": f"Type {opened.name.name} to delete an object in use."})
    async with opened.cluster.writing() as kube:
        await kube.delete(opened.kind, opened.name.name, opened.name.namespace)
    return request.redirect(opened.list, f"{opened.kind.name} {opened.name} was deleted.")


def _impact(opened: OpenedObject) -> list[str]:
    derived = opened.cluster.derived
    if opened.kind is SECRET:
        return deletion.of_secret(derived, opened.name)
    if opened.kind is INGRESS and opened.name in derived.view.ingresses:
        return deletion.of_ingress(derived, opened.name, opened.cluster.options, datetime.now(UTC))
    return []


def _used(opened: OpenedObject) -> bool:
    derived = opened.cluster.derived
    if opened.kind is SECRET:
        return bool(derived.referring.get(opened.name) or derived.by_secret.get(opened.name))
    return opened.kind is INGRESS and bool(derived.by_ingress.get(opened.name))


_ONE: Final = "/{kind}/{namespace}/{name}/delete"
PAGES: Final[tuple[Page, ...]] = (cluster_page(_ONE, show, act, view_role="member"),)
