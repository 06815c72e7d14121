"""Overview of a cluster: next expiries, problems, last rotations."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec
from starlette.responses import Response

from certferry.console.judge.hosts import CertificateExpiry, expiries
from certferry.console.pages.ingresses.synchronize import Difference, differences
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext
from certferry.core.model.kubernetes import Name
from certferry.core.model.problems import Problem

MOST: Final = 8
"""Most rows of each list."""


class RotationRecord(msgspec.Struct, frozen=True):
    """The annotation ``certferry.io/rotation`` of an Ingress."""

    fingerprint: str
    changed: datetime
    accepted: datetime | None = None
    served: datetime | None = None


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}."""
    derived = cluster.derived
    namespace = request.namespace
    problems = [p for p in derived.translation.problems if namespace in ("", p.object.namespace) and _shown(cluster, p)]
    return request.render(
        "clusters/overview.html",
        expiring=[e for e in expiries(derived.hosts, derived.at, cluster.access.limits) if _concerns(e, namespace)][
            :MOST
        ],
        problems=problems[:MOST],
        more=max(0, len(problems) - MOST),
        drift=_drift(cluster, namespace)[:MOST],
        rotations=_rotations(cluster, namespace)[:MOST],
        tiles=_tiles(cluster, namespace, problems),
        live=f"/live/{cluster.name}",
    )


def _shown(cluster: ClusterContext, problem: Problem) -> bool:
    return cluster.may("member") or (problem.object.kind != "Secret" and problem.reason != "SecretNotFound")


def _concerns(entry: CertificateExpiry, namespace: str) -> bool:
    return not namespace or any(name.namespace == namespace for name in entry.ingresses)


def _drift(cluster: ClusterContext, namespace: str) -> list[tuple[Name, list[Difference]]]:
    differing = (
        (name, settings)
        for name, ingress in sorted(cluster.kube.ingresses.items())
        if namespace in ("", name.namespace) and (settings := differences(cluster, ingress))
    )
    return list(differing)


def _rotations(cluster: ClusterContext, namespace: str) -> list[tuple[Name, RotationRecord]]:
    """Return the rotations in the annotations of Ingresses, the latest first."""
    records = []
    for name, ingress in cluster.kube.ingresses.items():
        if ingress.reported.rotation and namespace in ("", name.namespace):
            try:
                records.append((name, msgspec.json.decode(ingress.reported.rotation, type=RotationRecord)))
            except msgspec.DecodeError:
                continue
    return sorted(records, key=lambda pair: pair[1].changed, reverse=True)


def _tiles(cluster: ClusterContext, namespace: str, problems: list[Problem]) -> list[tuple[str, int, str]]:
    def count(names: Iterable[Name]) -> int:
        return sum(namespace in ("", name.namespace) for name in names)

    root = f"/clusters/{cluster.name}"
    tiles = [("Ingresses", count(cluster.kube.ingresses), f"{root}/ingresses")]
    if cluster.may("member"):
        tiles.append(("Secrets", count(cluster.kube.secrets), f"{root}/secrets"))
    tiles.append(("ELB certificates", len(cluster.elb.state.certificates), f"{root}/elb/certificates"))
    tiles.append(("Warnings", len(problems), f"{root}/events"))
    return tiles


PAGES: Final[tuple[Page, ...]] = (cluster_page("", show),)
