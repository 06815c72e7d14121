"""The page of one rotation: changed, accepted, served, and the handshake of each listener."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.errors import PageError
from certferry.console.web.forms import path


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}/rotations/{id}."""
    rotation = request.console.rotations.find(cluster.name, request.part("id"))
    if rotation is None:
        sentence = "The console keeps the latest rotations until it restarts. This one is not among them."
        raise PageError(404, "Not found", sentence, (path("clusters", cluster.name), "Last rotations"))
    return request.render(
        "clusters/rotation.html", rotation=rotation, state=cluster.elb.state, live=f"/live/{cluster.name}"
    )


PAGES: Final[tuple[Page, ...]] = (cluster_page("/rotations/{id}", show),)
