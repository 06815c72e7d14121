"""The cluster console's first page: what expires next, what is out of step, the last rotations."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec
from starlette.responses import Response

from certferry.console.pages.ingresses.synchronize import Difference, differences
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.page import Page
from certferry.console.web.request import PageRequest
from certferry.core.diagnosis.usage import Use
from certferry.core.model.kubernetes import Name
from certferry.core.model.problems import Problem

MOST: Final = 8
"""Lines of each list."""


class RotationRecord(msgspec.Struct, frozen=True):
    """The annotation ``certferry.io/rotation`` of an Ingress."""

    fingerprint: str
    changed: datetime
    accepted: datetime | None = None
    served: datetime | None = None


async def show(visit: PageRequest) -> Response:
    """GET /clusters/{cluster}."""
    desk = await visit.cluster_context()
    derived = desk.derived
    namespace = visit.namespace
    problems = [
        p for p in derived.translation.problems if namespace in ("", p.object.namespace) and _shown(desk, p)
    ]
    return visit.render(
        "clusters/overview.html",
        desk=desk,
        expiring=_expiring(derived.uses, namespace)[:MOST],
        problems=problems[:MOST],
        more=max(0, len(problems) - MOST),
        drift=_drift(desk, namespace)[:MOST],
        rotations=_rotations(desk, namespace)[:MOST],
        tiles=_tiles(desk, namespace, problems),
        live=f"/live/{desk.name}",
    )


def _shown(desk: ClusterContext, problem: Problem) -> bool:
    return desk.may("member") or (problem.object.kind != "Secret" and problem.reason != "SecretNotFound")


def _expiring(uses: Iterable[Use], namespace: str) -> list[Use]:
    """One use of each certificate in use, the one that ends first at the top."""
    mine = [u for u in uses if not namespace or any(i.namespace == namespace for i in u.ingresses)]
    first = {use.certificate: (use.chain.not_after, use) for use in reversed(mine) if use.chain}
    return [use for _, use in sorted(first.values(), key=lambda pair: pair[0])]


def _drift(desk: ClusterContext, namespace: str) -> list[tuple[Name, list[Difference]]]:
    found = (
        (name, there)
        for name, thing in sorted(desk.kube.ingresses.items())
        if namespace in ("", name.namespace) and (there := differences(desk, thing))
    )
    return list(found)


def _rotations(desk: ClusterContext, namespace: str) -> list[tuple[Name, RotationRecord]]:
    """What the controller wrote on Ingresses, the latest first."""
    found = []
    for name, thing in desk.kube.ingresses.items():
        if thing.reported.rotation and namespace in ("", name.namespace):
            try:
                found.append((name, msgspec.json.decode(thing.reported.rotation, type=RotationRecord)))
            except msgspec.DecodeError:
                continue
    return sorted(found, key=lambda pair: pair[1].changed, reverse=True)


def _tiles(desk: ClusterContext, namespace: str, problems: list[Problem]) -> list[tuple[str, int, str]]:
    def count(names: Iterable[Name]) -> int:
        return sum(namespace in ("", name.namespace) for name in names)

    root = f"/clusters/{desk.name}"
    tiles = [("Ingresses", count(desk.kube.ingresses), f"{root}/ingresses")]
    if desk.may("member"):
        tiles.append(("Secrets", count(desk.kube.secrets), f"{root}/secrets"))
    tiles.append(("ELB certificates", len(desk.elb.state.certificates), f"{root}/elb/certificates"))
    tiles.append(("Warnings", len(problems), f"{root}/events"))
    return tiles


PAGES: Final[tuple[Page, ...]] = (Page("/clusters/{cluster}", show),)
