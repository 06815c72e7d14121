"""Kinds of objects that the console opens, edits and deletes, by their plural in paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from certferry.console.pages.request import PageRequest
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.errors import forbidden, not_found
from certferry.console.web.forms import path
from certferry.core.model.kubernetes import Name
from certferry.kube.client import client
from certferry.kube.client.client import Kind, KubeError


class OpenedObject(NamedTuple):
    """The object of a page, read from the API for this request."""

    cluster: ClusterContext
    kind: Kind
    name: Name
    body: dict[str, Any]

    @property
    def one(self) -> str:
        """Path of the object."""
        return path("clusters", self.cluster.name, self.kind.plural, self.name.namespace, self.name.name)

    @property
    def list(self) -> str:
        """Path of the list with the object."""
        return f"{path('clusters', self.cluster.name, self.kind.plural)}?namespace={self.name.namespace}"


KINDS: Final[Mapping[str, Kind]] = {
    kind.plural: kind for kind in (client.CONFIG_MAP, client.INGRESS, client.SECRET, client.SERVICE)
}


async def open_object(request: PageRequest, cluster: ClusterContext) -> OpenedObject:
    """Read the object in the path. Raises ``PageError`` if there is none, and ``KubeError``."""
    kind = KINDS.get(request.part("kind"))
    if kind is None:
        raise not_found("such kind", (path("clusters", cluster.name), "Overview"))
    if kind is client.SECRET and not cluster.may("member"):
        raise forbidden(cluster.role, "member")
    name = Name(request.part("namespace"), request.part("name"))
    try:
        body = await cluster.kube.client.get(kind, name.name, name.namespace)
    except KubeError as error:
        if error.status == 404:
            where = path("clusters", cluster.name, kind.plural)
            raise not_found(f"{kind.name} {name}", (where, "Back to the list")) from None
        raise
    return OpenedObject(cluster, kind, name, {"apiVersion": kind.group_version, "kind": kind.name, **body})
