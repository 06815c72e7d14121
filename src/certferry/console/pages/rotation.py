"""The page of a change on its way: changed, accepted, served, and what each listener shows."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from certferry.console.web.errors import PageError
from certferry.console.web.page import Page
from certferry.console.web.request import PageRequest, path


async def show(visit: PageRequest) -> Response:
    """GET /clusters/{cluster}/rotations/{id}."""
    desk = await visit.cluster_context()
    rotation = visit.console.rotations.find(desk.name, visit.part("id"))
    if rotation is None:
        sentence = (
            "The console remembers the latest changes until it is restarted; this one is not among them."
        )
        raise PageError(404, "Not remembered", sentence, (path("clusters", desk.name), "Last rotations"))
    return visit.render(
        "clusters/rotation.html",
        desk=desk,
        rotation=rotation,
        state=desk.elb.state,
        live=f"/live/{desk.name}",
    )


PAGES: Final[tuple[Page, ...]] = (Page("/clusters/{cluster}/rotations/{id}", show),)
