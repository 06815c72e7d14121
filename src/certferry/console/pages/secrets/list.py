"""ConfigMaps and Secrets > Secrets: the list."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec
from starlette.responses import Response

from certferry.console.judge.filters import by_expiry, by_manager
from certferry.console.judge.hosts import severity
from certferry.console.judge.secret import status
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext, DerivedState
from certferry.console.state.objects import ListedSecret
from certferry.console.web.formatting import Badge
from certferry.console.web.listing import Column, TablePage, UnshownRow, build_rows
from certferry.core.diagnosis.usage import Use
from certferry.core.model.kubernetes import Name
from certferry.core.x509.pem import Chain

_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class SecretRow(msgspec.Struct, frozen=True, kw_only=True):
    """One Secret."""

    secret: ListedSecret
    chain: Chain | None
    uses: tuple[Use, ...]
    ingresses: tuple[Name, ...]
    hosts: tuple[str, ...]
    """Hosts of those Ingresses, and hosts whose clients get the certificate."""
    severity: tuple[bool, int]
    """Sort key: a Secret with a problem first, then by its worst host."""

    @property
    def text(self) -> str:
        """Text that the search matches."""
        names = self.chain.names if self.chain else ()
        return " ".join((str(self.secret.name), self.secret.type, *names, *self.hosts, *map(str, self.ingresses)))


COLUMNS: Final = (
    Column("name", "Secret Name", lambda r: (r.secret.name.name, r.secret.name.namespace)),
    Column("type", "Secret Type", lambda r: r.secret.type, low=True),
    Column("domains", "Domains", lambda r: r.chain.names if r.chain else ("~",)),
    Column("expires", "Expires", lambda r: r.chain.not_after if r.chain else _NEVER),
    Column("served", "Status", lambda r: r.severity),
    Column("used", "Used by", lambda r: tuple(map(str, r.ingresses)) or ("~",), low=True),
    Column("created", "Created", lambda r: r.secret.created, low=True),
    Column("operation", "Operation", None),
)


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}/secrets."""
    if not cluster.may("member"):
        return request.render("secrets/hidden.html")
    listing: TablePage[SecretRow] = TablePage(
        rows(cluster, request.namespace),
        COLUMNS,
        request.query,
        lambda row: row.text,
        "Secret",
        (
            by_expiry(lambda row: row.chain, cluster.derived.at),
            by_manager(cluster.kube.secrets.values(), lambda row: row.secret),
        ),
    )
    states: dict[Name, Badge | None] = listing.derive(lambda row: (row.secret.name, status(cluster, row.secret)))
    return request.render("secrets/list.html", listing=listing, states=states, live=f"/live/{cluster.name}")


def rows(cluster: ClusterContext, namespace: str) -> list[SecretRow | UnshownRow]:
    """Return the Secrets of `namespace` ("": all), by name."""
    derived, secrets = cluster.derived, sorted(cluster.kube.secrets.items())
    chosen = [secret for name, secret in secrets if namespace in ("", name.namespace)]
    return build_rows(chosen, lambda secret: _row(derived, secret), lambda secret: secret.name)


def _row(derived: DerivedState, secret: ListedSecret) -> SecretRow:
    uses, ingresses = derived.by_secret.get(secret.name, ()), derived.referring.get(secret.name, ())
    wanted = (h for name in ingresses for h in derived.view.ingresses[name].hosts)
    return SecretRow(
        secret=secret,
        chain=secret.parsed.chain,
        uses=uses,
        ingresses=ingresses,
        severity=(
            not (secret.parsed.flaw or derived.problems.get(("Secret", secret.name))),
            severity(derived.hosts_by_secret.get(secret.name, ())),
        ),
        hosts=tuple(dict.fromkeys((*wanted, *(h for use in uses for h in use.hosts)))),
    )


PAGES: Final[tuple[Page, ...]] = (cluster_page("/secrets", show),)
