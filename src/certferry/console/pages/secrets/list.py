"""ConfigMaps and Secrets > Secrets: the list. It leads to everything that can be done with one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec
from starlette.responses import Response

from certferry.console.judge.secret import state
from certferry.console.state.cluster_view import ClusterContext, DerivedState
from certferry.console.state.objects import ListedSecret
from certferry.console.web.formatting import Badge
from certferry.console.web.listing import Column, TablePage
from certferry.console.web.page import Page
from certferry.console.web.request import PageRequest
from certferry.core.diagnosis.usage import Use
from certferry.core.model.kubernetes import Name
from certferry.core.x509.pem import Chain

_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One Secret."""

    thing: ListedSecret
    chain: Chain | None
    uses: tuple[Use, ...]
    ingresses: tuple[Name, ...]
    hosts: tuple[str, ...]
    """Of those Ingresses, and of whatever else clients are shown it for."""

    @property
    def text(self) -> str:
        """What is searched: name, type, domains, hosts and Ingresses."""
        names = self.chain.names if self.chain else ()
        return " ".join(
            (str(self.thing.name), self.thing.type, *names, *self.hosts, *map(str, self.ingresses))
        )


COLUMNS: Final = (
    Column("name", "Secret Name", lambda r: (r.thing.name.name, r.thing.name.namespace)),
    Column("type", "Secret Type", lambda r: r.thing.type),
    Column("domains", "Domains", lambda r: r.chain.names if r.chain else ("~",)),
    Column("expires", "Expires", lambda r: r.chain.not_after if r.chain else _NEVER),
    Column("served", "Status", None),
    Column("used", "Used by", lambda r: tuple(map(str, r.ingresses)) or ("~",)),
    Column("created", "Created", lambda r: r.thing.created),
    Column("operation", "Operation", None),
)


async def show(visit: PageRequest) -> Response:
    """GET /clusters/{cluster}/secrets."""
    desk = await visit.cluster_context()
    if not desk.may("member"):
        return visit.render("secrets/hidden.html", desk=desk)
    listing = TablePage(rows(desk, visit.namespace), COLUMNS, visit.query, lambda row: row.text)
    states: dict[Name, Badge | None] = {
        row.thing.name: state(desk, row.thing, row.uses) for row in listing.rows
    }
    return visit.render(
        "secrets/list.html", desk=desk, listing=listing, states=states, live=f"/live/{desk.name}"
    )


def rows(desk: ClusterContext, namespace: str) -> list[Row]:
    """Every Secret of `namespace` ("": of all), by name."""
    return [
        _row(desk.derived, thing)
        for name, thing in sorted(desk.kube.secrets.items())
        if not namespace or name.namespace == namespace
    ]


def _row(derived: DerivedState, thing: ListedSecret) -> Row:
    uses, ingresses = derived.by_secret.get(thing.name, ()), derived.referring.get(thing.name, ())
    asked = (h for name in ingresses for h in derived.view.ingresses[name].hosts)
    return Row(
        thing=thing,
        chain=thing.secret.chain,
        uses=uses,
        ingresses=ingresses,
        hosts=tuple(dict.fromkeys((*asked, *(h for use in uses for h in use.hosts)))),
    )


PAGES: Final[tuple[Page, ...]] = (Page("/clusters/{cluster}/secrets", show),)
