"""Read a whole cluster once, for commands that need no watch. Private keys are dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from certferry.core.model.kubernetes import ClusterView, Name, ReportedStatus, parse_reported
from certferry.core.translate.manifests import overlaid
from certferry.kube.client import client as kinds
from certferry.kube.client.client import Kind, KubeClient, KubeError, Object

_KINDS = (kinds.INGRESS, kinds.INGRESS_CLASS, kinds.SERVICE, kinds.ENDPOINT_SLICE, kinds.SECRET)


async def read_once(client: KubeClient) -> tuple[ClusterView, Mapping[Name, ReportedStatus]]:
    """Return all objects that matter to a load balancer and what we reported on each Ingress. Raises ``KubeError``."""
    namespace, nodes, lists = await asyncio.gather(
        client.get(kinds.NAMESPACE, "kube-system"),
        _nodes(client),
        asyncio.gather(*(_items(client, kind) for kind in _KINDS)),
    )
    empty = ClusterView(cluster_id=str(namespace["metadata"]["uid"]))
    view = overlaid(empty, [item for items in (*lists, nodes) for item in items])
    reported = {Name(i["metadata"]["namespace"], i["metadata"]["name"]): parse_reported(i) for i in lists[0]}
    return view, reported


async def _items(client: KubeClient, kind: Kind) -> list[Object]:
    listing = await client.listing(kind)
    # a list leaves out the kind of its items
    return [{**item, "kind": kind.name} for item in listing.items]


async def _nodes(client: KubeClient) -> list[Object]:
    try:
        return await _items(client, kinds.NODE)
    except KubeError as error:
        if error.status in (403, 404):
            return []
        raise
