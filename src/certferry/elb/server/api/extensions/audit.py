"""Reading the audit log: who changed what, oldest first, by page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from certferry.elb.server.api.extensions.bodies import asked_for, instant, number
from certferry.elb.server.api.request import ApiRequest, ApiResponse, Route
from certferry.elb.server.errors import bad_request
from certferry.elb.server.store.audit import Entry, Search

_MOST: Final = 1000
_FAR: Final = 2**62


def audit(call: ApiRequest) -> ApiResponse:
    """GET audit: `since` is an instant (RFC 3339) or a sequence, `marker` the `next` of the page before."""
    limit = number(call, "limit", 100, _MOST)
    after, from_instant = _since(asked_for(call, "since"))
    records = call.store.audited(
        Search(
            project_id=call.actor.project_id,
            object_id=asked_for(call, "certificate_id"),
            host=asked_for(call, "host"),
            from_instant=from_instant,
            after=max(after, number(call, "marker", 0, _FAR)),
            limit=limit + 1,
        )
    )
    page = records[:limit]
    more = page[-1].sequence if page and len(records) > limit else None
    return ApiResponse(200, {"records": [shown(one) for one in page], "next": more})


def shown(entry: Entry) -> dict[str, Any]:
    """Render a record as answers and events show it."""
    return {**msgspec.to_builtins(entry), "at": instant(entry.at)}


def _since(text: str | None) -> tuple[int, datetime | None]:
    """(sequence after which, instant from which on). Raises ApiError (400)."""
    if text is None:
        return 0, None
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text), None
    try:
        at = msgspec.convert(text, datetime)
        return 0, (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        raise bad_request("since is an instant like 2030-01-31T12:00:00Z, or a sequence") from None


ROUTES: Final[tuple[Any, ...]] = (Route("GET", "/audit", audit, "Read the audit log"),)
