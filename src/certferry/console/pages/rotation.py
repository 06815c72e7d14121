"""The page of a change on its way: changed, accepted, served, and what each listener shows."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from certferry.console.pages.request import Page, PageRequest
from certferry.console.web.errors import PageError
from certferry.console.web.forms import path


async def show(request: PageRequest) -> Response:
    """GET /clusters/{cluster}/rotations/{id}."""
    cluster = await request.cluster_context()
    rotation = request.console.rotations.find(cluster.name, request.part("id"))
    if rotation is None:
        sentence = (
            "The console remembers the latest changes until it is restarted; this one is not among them."
        )
        raise PageError(404, "Not remembered", sentence, (path("clusters", cluster.name), "Last rotations"))
    return request.render(
        "clusters/rotation.html",
        cluster=cluster,
        rotation=rotation,
        state=cluster.elb.state,
        live=f"/live/{cluster.name}",
    )


PAGES: Final[tuple[Page, ...]] = (Page("/clusters/{cluster}/rotations/{id}", show),)
