"""Extensions to the vendor's API, under ``/v3/{project_id}/certferry/``: one file per subject."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from certferry.elb.server.api.extensions import (
    audit,
    breakglass,
    compromised,
    issuers,
    orders,
    release,
    status,
    versions,
)
from certferry.elb.server.api.request import Route

NAMES: Final = (
    "versions",
    "rollback",
    "status",
    "break-glass",
    "audit",
    "events",
    "release",
    "bulk",
    "compromised-keys",
    "issuers",
    "orders",
)
"""The names in the answer to ``GET /v3/certferry``."""
ROUTES: Final[tuple[Route, ...]] = tuple(
    replace(route, under="/certferry")
    for subject in (versions, status, breakglass, compromised, release, audit, issuers, orders)
    for route in subject.ROUTES
)
"""Paths are below ``/v3/{project_id}/certferry``; the event stream is a route of its own."""
