"""Whether each listener shows a new certificate: a row for every place where it is to be seen."""

from __future__ import annotations

import asyncio
from typing import Any

from certferry.cli.cert.lookup import FleetSnapshot, Found
from certferry.cli.cert.replace_journal import Place
from certferry.core.diagnosis import usage
from certferry.core.model.elb import bind_port
from certferry.core.x509.pem import Chain
from certferry.runtime.tls_probe import (
    HandshakeFailed,
    ProbeResult,
    Served,
    Target,
    Unreachable,
    WrongChain,
    wait_until_served,
)

DEADLINE = 15.0
"""Seconds for a change of a Secret to reach clients, the controller's way included."""


async def results(seen: FleetSnapshot, todo: list[Place], new: Chain) -> list[dict[str, Any]]:
    """A row for each address and name; ``served`` says whether the new one is shown."""
    waiting: list[tuple[Place, Target]] = []
    for found in seen.certificates():
        place = _place(found)
        if place in todo:
            waiting += [(place, target) for target in targets(found)]
    sights = await asyncio.gather(*(wait_until_served(t, new, DEADLINE) for _, t in waiting))
    rows = [_row(place, target, sight) for (place, target), sight in zip(waiting, sights, strict=True)]
    unused = [p for p in todo if not any(p == place for place, _ in waiting)]
    return rows + [
        {
            "cluster": p.cluster,
            "place": f"{p.kind} {p.name}",
            "listener": "",
            "host": "",
            "result": "on no listener",
            "served": True,
        }
        for p in unused
    ]


def targets(found: Found) -> list[Target]:
    """Every address, port and name that shows a certificate."""
    picture = found.picture
    if picture.view is None:
        return []
    places = set()
    for use in usage.uses(picture.view, picture.observed, picture.options):
        balancer = picture.observed.loadbalancers.get(use.loadbalancer)
        if use.certificate == found.it.id and balancer and balancer.vip_address:
            port = bind_port(balancer, use.port)
            for host in use.hosts or use.names or ("",):
                places.add(Target(address=balancer.vip_address, port=port, host=host))
    return sorted(places)


def _place(found: Found) -> Place:
    kind, name = ("Secret", str(found.secret)) if found.secret else ("ELB certificate", found.it.id)
    return Place(cluster=found.cluster.name, kind=kind, name=name)


def _row(place: Place, target: Target, sight: ProbeResult) -> dict[str, Any]:
    match sight:
        case Served():
            result = "served"
        case Unreachable():
            result = f"not reached: {sight.why}"
        case HandshakeFailed():
            result = f"reached, but {sight.why}"
        case WrongChain():
            result = f"shows the right certificate, but {sight.why}"
        case _:
            result = f"shows another certificate ({sight.fingerprint[:16]})"
    return {
        "cluster": place.cluster,
        "place": f"{place.kind} {place.name}",
        "listener": f"{target.address}:{target.port}",
        "host": target.host,
        "result": result,
        "served": isinstance(sight, Served),
    }
