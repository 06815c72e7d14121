"""The page of a change on its way: changed, accepted, served, and what each listener shows."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from certferry.console.routes import Page
from certferry.console.stops import missing
from certferry.console.visit import Visit, path


async def show(visit: Visit) -> Response:
    """GET /clusters/{cluster}/rotations/{id}."""
    desk = await visit.desk()
    rotation = visit.console.rotations.find(desk.name, visit.part("id"))
    if rotation is None:
        raise missing(
            "such change; the console remembers the latest", (path("clusters", desk.name), "Overview")
        )
    return visit.render(
        "rotation.html", desk=desk, rotation=rotation, state=desk.elb.state, live=f"/live/{desk.name}"
    )


PAGES: Final[tuple[Page, ...]] = (Page("/clusters/{cluster}/rotations/{id}", show),)
