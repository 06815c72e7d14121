"""Overview of a cluster: whether anything is wrong, what to do about it, next expiries, last rotations."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from certferry.console.judge.health import CATEGORIES, ObjectProblems, counts, host_places, overall, problems
from certferry.console.judge.hosts import CertificateExpiry, expiries
from certferry.console.judge.rotation_log import RotationRecord, read_rotation
from certferry.console.pages.hosts.details import visible
from certferry.console.pages.ingresses.synchronize import Difference, differences
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext
from certferry.core.diagnosis.host_state import HostState
from certferry.core.model.kubernetes import Name
from certferry.core.model.problems import Problem

MOST: Final = 8
"""Most rows of each list."""
PROBLEMS: Final = 20
"""Most objects with problems."""
PROBED: Final = 40
"""Most hosts that are probed for one page: those with a problem first."""


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}."""
    derived, namespace = cluster.derived, request.namespace
    hosts = [host for host in host_places(cluster) if _within(namespace, host.states)]
    states = [state for host in hosts for state in host.states]
    cluster.probed(sorted(states, key=lambda state: (state.well, bool(state.shown)))[:PROBED])
    all_problems = problems(visible(cluster, states), [p for p in derived.translation.problems if _shown(cluster, p)])
    listed = [p for p in all_problems if namespace in ("", p.object.namespace)]
    concerned = [e for e in expiries(derived.hosts, derived.at, cluster.access.limits) if _concerns(e, namespace)]
    rotations = _rotations(cluster, namespace)
    return request.render(
        "clusters/overview.html",
        total=len(hosts),
        answer=overall(hosts),
        probed=sum(any(state.shown for state in host.states) for host in hosts),
        categories=CATEGORIES,
        counts=counts(hosts),
        problems=listed[:PROBLEMS],
        more=_more(listed),
        drift=_drift(cluster, namespace)[:MOST],
        expiring=concerned[:MOST],
        rotations=rotations[:MOST],
        median=_median(rotations),
        live=f"/live/{cluster.name}",
    )


def _within(namespace: str, states: tuple[HostState, ...]) -> bool:
    return not namespace or any(name.namespace == namespace for state in states for name in state.claims)


def _shown(cluster: ClusterContext, problem: Problem) -> bool:
    return cluster.may("member") or (problem.object.kind != "Secret" and problem.reason != "SecretNotFound")


def _more(listed: list[ObjectProblems]) -> int:
    return max(0, len(listed) - PROBLEMS)


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
    records = (
        (name, record)
        for name, ingress in cluster.kube.ingresses.items()
        if namespace in ("", name.namespace) and (record := read_rotation(ingress.reported.rotation))
    )
    return sorted(records, key=lambda pair: pair[1].changed, reverse=True)


def _median(rotations: list[tuple[Name, RotationRecord]]) -> float | None:
    """Return the median time in seconds until a rotation was served; None if there is none."""
    times = sorted(record.duration.total_seconds() for _, record in rotations if record.duration)
    return times[len(times) // 2] if times else None


PAGES: Final[tuple[Page, ...]] = (cluster_page("", show),)
