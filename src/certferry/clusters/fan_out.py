"""One request to every cluster at once; a cluster that does not answer delays no other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import msgspec

from certferry.clusters.cluster import ClusterAccess
from certferry.clusters.settings_file import Fleet
from certferry.elb.client.client import ElbError
from certferry.elb.client.credentials import CredentialsError
from certferry.kube.client.client import KubeError
from certferry.kube.client.kubeconfig import KubeconfigError
from certferry.settings import UserError

T = TypeVar("T")

DEADLINE: Final = 10.0
"""Seconds that one cluster may take."""

_TROUBLES: Final = (KubeError, ElbError, KubeconfigError, CredentialsError, UserError, OSError)


class ClusterResult(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """The answer of one cluster: a value, or the reason why there is none."""

    cluster: str
    value: T | None = None
    trouble: str | None = None


async def fan_out(
    fleet: Fleet, ask: Callable[[ClusterAccess], Awaitable[T]], deadline: float = DEADLINE
) -> list[ClusterResult[T]]:
    """Call `ask` for each cluster in parallel; return the results in the order of the file."""
    return list(await asyncio.gather(*(_ask(cluster, ask, deadline) for cluster in fleet.clusters)))


async def _ask(
    cluster: ClusterAccess, ask: Callable[[ClusterAccess], Awaitable[T]], deadline: float
) -> ClusterResult[T]:
    try:
        async with asyncio.timeout(deadline):
            return ClusterResult(cluster=cluster.name, value=await ask(cluster))
    except TimeoutError:
        return ClusterResult(cluster=cluster.name, trouble=f"no answer within {deadline:g} s")
    except _TROUBLES as error:
        return ClusterResult(cluster=cluster.name, trouble=str(error))
