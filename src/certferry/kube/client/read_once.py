"""A cluster at one moment, read once: for commands, which need no watch.

``certferry plan`` and ``certferry explain`` call it. Raises ``KubeError``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from certferry.core.model.kubernetes import ClusterView
from certferry.core.translate.manifests import overlaid
from certferry.kube.client import client as kinds
from certferry.kube.client.client import Kind, KubeClient, KubeError

_KINDS = (kinds.INGRESS, kinds.INGRESS_CLASS, kinds.SERVICE, kinds.ENDPOINT_SLICE, kinds.SECRET)


async def snapshot(client: KubeClient) -> ClusterView:
    """Everything that matters to a load balancer, keys left out."""
    namespace = await client.get(kinds.NAMESPACE, "kube-system")
    found = await asyncio.gather(*(_items(client, kind) for kind in _KINDS), _nodes(client))
    empty = ClusterView(cluster_id=str(namespace["metadata"]["uid"]))
    return overlaid(empty, [item for items in found for item in items])


async def _items(client: KubeClient, kind: Kind) -> Sequence[dict[str, Any]]:
    listing = await client.listing(kind)
    # a list leaves out the kind of its items
    return [{**item, "kind": kind.name} for item in listing.items]


async def _nodes(client: KubeClient) -> Sequence[dict[str, Any]]:
    try:
        return await _items(client, kinds.NODE)
    except KubeError as error:
        if error.status in (403, 404):
            return []
        raise
