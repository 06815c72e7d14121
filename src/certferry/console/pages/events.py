"""Events of one object and of the cluster. Kubernetes keeps them for an hour."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
from starlette.responses import Response

from certferry.console.pages.objects.kinds import open_object
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.listing import Column, TablePage
from certferry.core.model.kubernetes import Name
from certferry.kube.client.client import EVENT


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """One Event."""

    kind: str
    """Kind of the involved object."""
    name: str
    type: str
    reason: str
    message: str
    count: int
    first: datetime | None
    last: datetime | None
    uid: str

    @property
    def text(self) -> str:
        """Text that the search matches."""
        return f"{self.kind} {self.name} {self.reason} {self.message}"


_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")
COLUMNS: Final = (
    Column("object", "Object", lambda r: (r.kind, r.name)),
    Column("level", "Event Type", lambda r: r.type),
    Column("reason", "Event Name", lambda r: r.reason),
    Column("message", "Kubernetes Event", None),
    Column("count", "Occurrences", lambda r: r.count),
    Column("last", "Last Occurrence", lambda r: r.last or _EPOCH),
)


async def of_name(cluster: ClusterContext, kind: str, name: Name) -> list[EventRow]:
    """Return the Events of one object, the latest first. Raises ``KubeError``."""
    about = {"kind": kind, "namespace": name.namespace, "name": name.name}
    return await _events(cluster, ",".join(f"involvedObject.{k}={v}" for k, v in about.items()), name.namespace)


async def of_object(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/events of one object."""
    opened = await open_object(request, cluster)
    rows = await of_name(cluster, opened.kind.name, opened.name)
    return request.render("objects/events_dialog.html", object=opened, rows=rows)


async def of_cluster(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}/events."""
    rows = await _events(cluster, "", request.namespace or None)
    if not cluster.may("member"):
        rows = [row for row in rows if row.kind != "Secret"]
    listing = TablePage(rows, COLUMNS, request.query, lambda row: row.text, "Event")
    return request.render("objects/events.html", listing=listing, live=f"/live/{cluster.name}")


async def _events(cluster: ClusterContext, selector: str, namespace: str | None = None) -> list[EventRow]:
    """Read Events, the latest first. Raises ``KubeError``."""
    listing = await cluster.kube.client.listing(EVENT, namespace, selector)
    return sorted(map(_row, listing.items), key=lambda row: row.last or _EPOCH, reverse=True)


def _row(obj: dict[str, Any]) -> EventRow:
    about = obj.get("involvedObject") or {}
    first = obj.get("firstTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp")
    last = obj.get("lastTimestamp") or first
    return EventRow(
        kind=about.get("kind") or "",
        name=f"{about.get('namespace') or ''}/{about.get('name') or ''}",
        type=obj.get("type") or "Normal",
        reason=obj.get("reason") or "",
        message=obj.get("message") or "",
        count=int(obj.get("count") or 1),
        first=datetime.fromisoformat(first) if first else None,
        last=datetime.fromisoformat(last) if last else None,
        uid=obj["metadata"].get("uid") or obj["metadata"]["name"],
    )


PAGES: Final[tuple[Page, ...]] = (
    cluster_page("/events", of_cluster),
    cluster_page("/{kind}/{namespace}/{name}/events", of_object),
)
