"""A cluster and its ELB, read once: the data of the command line.

If the cluster does not answer, the snapshot has its ELB alone.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from msgspec.structs import replace

from certferry.clusters.cluster import ClusterAccess
from certferry.clusters.translate_options import cluster_options
from certferry.core.diagnosis.cluster import ClusterDiagnosis, diagnose
from certferry.core.diagnosis.inventory import CertificateInfo, watched
from certferry.core.model import naming as names
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.elb.client import extensions
from certferry.elb.client.observe import observe
from certferry.kube.client.client import KubeError
from certferry.kube.client.kubeconfig import KubeconfigError
from certferry.kube.client.read_once import read_once


class ClusterSnapshot(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A cluster and its ELB at one moment."""

    cluster: ClusterAccess
    observed: State
    extensions: frozenset[str]
    options: TranslateOptions
    view: ClusterView | None = None
    """None: the cluster did not answer."""
    trouble: str | None = None
    """Why it did not."""
    rotations: Mapping[Name, str] = {}
    """The annotation ``certferry.io/rotation`` of each Ingress."""

    @property
    def compromised(self) -> frozenset[str]:
        """The public keys that are marked as compromised."""
        return self.options.within(self.observed).compromised

    @functools.cached_property
    def diagnosis(self) -> ClusterDiagnosis:
        """The diagnosis, without a handshake."""
        return diagnose(self.view, self.observed, self.options, datetime.now(UTC), self.cluster.limits)

    @functools.cached_property
    def watched(self) -> tuple[CertificateInfo, ...]:
        """Every server certificate, the first to expire first."""
        return watched(self.diagnosis)


async def take_snapshot(cluster: ClusterAccess) -> ClusterSnapshot:
    """Read all of it. Raises ``ElbError`` where the ELB does not answer."""
    async with cluster.elb(short=True) as elb:
        observed, offered, (view, rotations, trouble) = await asyncio.gather(
            observe(elb), extensions.available(elb), _cluster(cluster)
        )
    return ClusterSnapshot(
        cluster=cluster,
        observed=observed,
        extensions=offered,
        options=_options(cluster, observed, view),
        view=view,
        trouble=trouble,
        rotations=rotations,
    )


async def _cluster(cluster: ClusterAccess) -> tuple[ClusterView | None, Mapping[Name, str], str | None]:
    try:
        async with cluster.kube(short=True) as kube:
            view, reported = await read_once(kube)
    except (KubeError, KubeconfigError) as error:
        return None, {}, str(error)
    return view, {name: r.rotation or "" for name, r in reported.items()}, None


def _options(cluster: ClusterAccess, observed: State, view: ClusterView | None) -> TranslateOptions:
    options = cluster_options(cluster)
    if options.default_loadbalancer is None and view is not None:
        return replace(options, default_loadbalancer=_usual(observed, view))
    return options


def _usual(observed: State, view: ClusterView) -> str | None:
    """Return the load balancer on which this cluster has most of its listeners, None if it has none."""
    ours = Counter(
        it.loadbalancer_id for it in observed.listeners.values() if names.is_of(view.cluster_id, it.description)
    )
    return min(ours, key=lambda ref: (-ours[ref], ref), default=None)
