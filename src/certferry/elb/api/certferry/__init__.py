"""What our ELB can do beyond the vendor's, under ``/v3/{project_id}/certferry/``: one file per subject."""

from __future__ import annotations

from typing import Final

from certferry.elb.api.call import Route
from certferry.elb.api.certferry import audit, breakglass, release, status, versions

NAMES: Final = ("versions", "rollback", "status", "break-glass", "audit", "events", "release")
"""What ``GET /v3/certferry`` tells clients."""
ROUTES: Final[tuple[Route, ...]] = (
    *versions.ROUTES,
    *status.ROUTES,
    *breakglass.ROUTES,
    *release.ROUTES,
    *audit.ROUTES,
)
"""Paths are below ``/v3/{project_id}/certferry``; the event stream is a route of its own."""
