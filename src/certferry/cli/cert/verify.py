"""Proof that each listener serves a new certificate: a row for every address and host."""

from __future__ import annotations

import asyncio
from typing import Any

from certferry.cli.cert.lookup import FleetSnapshot, LocatedCertificate
from certferry.cli.cert.replace_journal import Place
from certferry.core.diagnosis import usage
from certferry.core.model.elb import bind_port
from certferry.core.x509.pem import Chain
from certferry.runtime.prober import Prober
from certferry.runtime.tls_probe import HandshakeFailed, ProbeResult, Served, Target, Unreachable, WrongChain

DEADLINE = 15.0
"""Seconds within which a change of a Secret reaches clients through the controller."""


async def results(fleet: FleetSnapshot, todo: list[Place], new: Chain) -> list[dict[str, Any]]:
    """Wait up to DEADLINE; return a row for each address and host. ``served``: whether the new one is served."""
    waiting: list[tuple[Place, Target]] = []
    for located in fleet.certificates():
        place = place_of(located)
        if place in todo:
            waiting += [(place, target) for target in targets(located)]
    prober = Prober()
    probes = await asyncio.gather(*(prober.wait_until_served(t, new, DEADLINE) for _, t in waiting))
    rows = [_row(place, target, result) for (place, target), result in zip(waiting, probes, strict=True)]
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


def targets(located: LocatedCertificate) -> list[Target]:
    """Return every address, port and host that serves a certificate."""
    snapshot = located.snapshot
    if snapshot.view is None:
        return []
    places = set()
    for use in usage.uses(snapshot.diagnosis):
        balancer = snapshot.observed.loadbalancers.get(use.loadbalancer)
        if use.certificate == located.info.id and balancer and balancer.vip_address:
            port = bind_port(balancer, use.port)
            for host in use.hosts or use.names or ("",):
                places.add(Target(address=balancer.vip_address, port=port, host=host))
    return sorted(places)


def place_of(located: LocatedCertificate) -> Place:
    """Return where the content of a certificate is written."""
    kind, name = ("Secret", str(located.secret)) if located.secret else ("ELB certificate", located.info.id)
    return Place(cluster=located.cluster.name, kind=kind, name=name)


def _row(place: Place, target: Target, probe: ProbeResult) -> dict[str, Any]:
    match probe:
        case Served():
            result = "served"
        case Unreachable():
            result = f"not reached: {probe.why}"
        case HandshakeFailed():
            result = f"reached, but {probe.why}"
        case WrongChain():
            result = f"shows the right certificate, but {probe.why}"
        case _:
            result = f"shows another certificate ({probe.fingerprint[:16]})"
    return {
        "cluster": place.cluster,
        "place": f"{place.kind} {place.name}",
        "listener": f"{target.address}:{target.port}",
        "host": target.host,
        "result": result,
        "served": isinstance(probe, Served),
    }
