"""ConfigMaps and Secrets > Secrets: one Secret. No value of it is shown."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from certferry.console.judge.secret import status
from certferry.console.pages.events import of_name
from certferry.console.pages.hosts.details import details
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.pages.secrets.update import requested_secret
from certferry.console.state.cluster_view import ClusterContext


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}/secrets/{namespace}/{name}."""
    secret, derived = requested_secret(request, cluster), cluster.derived
    states = derived.hosts_by_secret.get(secret.name, ())
    return request.render(
        "secrets/secret.html",
        secret=secret,
        badge=status(cluster, secret),
        details=await details(cluster, states, derived.problems.get(("Secret", secret.name), ())),
        referring=derived.referring.get(secret.name, ()),
        events=await of_name(cluster, "Secret", secret.name),
        live=f"/live/{cluster.name}",
    )


PAGES: Final[tuple[Page, ...]] = (cluster_page("/secrets/{namespace}/{name}", show, view_role="member"),)
