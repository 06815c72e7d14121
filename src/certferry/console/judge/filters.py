"""Filters of lists: by the health of hosts, by expiry, by the managing tool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from certferry.console.judge.health import CATEGORIES, host_places
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.state.objects import ListedObject
from certferry.console.web.listing import Chips
from certferry.core.model.kubernetes import Name
from certferry.core.x509.pem import Chain

_WITHIN: Final = (("7d", "7 days", timedelta(days=7)), ("30d", "30 days", timedelta(days=30)))


def by_health(cluster: ClusterContext, name: Callable[[Any], Name]) -> Chips:
    """Return the filter of Ingresses by the categories of their hosts."""
    categories: dict[Name, dict[str, None]] = {}
    for place in host_places(cluster):
        for state in place.states:
            for claim in state.claims:
                categories.setdefault(claim, {})[place.category] = None
    options = [(c.key, c.label) for c in CATEGORIES]
    return Chips("health", "Health of hosts", lambda row: categories.get(name(row), ()), options)


def by_expiry(chain: Callable[[Any], Chain | None], now: datetime) -> Chips:
    """Return the filter by the end of a certificate."""

    def values(row: Any) -> Iterator[str]:
        if of_row := chain(row):
            if of_row.not_after <= now:
                yield "expired"
            yield from (key for key, _, span in _WITHIN if now < of_row.not_after <= now + span)

    return Chips(
        "expires", "Expires", values, [("expired", "Expired"), *((key, f"Within {text}") for key, text, _ in _WITHIN)]
    )


def by_manager(objects: Iterable[ListedObject], of: Callable[[Any], ListedObject]) -> Chips:
    """Return the filter of `objects` by the tool that manages them. `of`: the object of a row."""
    tools = sorted({manager.tool for one in objects for manager in one.managers})
    return Chips("managed", "Managed by", lambda row: [m.tool for m in of(row).managers], [(t, t) for t in tools])
