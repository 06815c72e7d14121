"""Where a certificate is served, since when, what is wrong with it, and what Envoy said about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from certferry.core import parking
from certferry.core.envoy.match import hosts
from certferry.core.envoy.seats import places
from certferry.core.model import Listener, State
from certferry.elb import emergency, findings
from certferry.elb.api.call import Answer, Call, Route, asked
from certferry.elb.api.certferry.bodies import instant
from certferry.elb.bindings import users
from certferry.elb.plane.ledger import SeatStatus
from certferry.elb.store.world import Row

_SERVING: Final = ("default_tls_container_ref", "sni_container_refs")


def status(call: Call) -> Answer:
    """GET …/status."""
    world, now = call.world, call.store.now()
    row = asked(call, world, "certificate")
    assert row.content is not None
    state, seats = call.store.publication.state, call.seats()
    return Answer(
        200,
        {
            "status": {
                "certificate_id": row.id,
                "fingerprint": row.content.chain.fingerprint,
                "listeners": [
                    seat
                    for one in users(world, row.id, *_SERVING)
                    if (listener := state.listeners.get(one.id)) is not None
                    for seat in _seats(row, listener, state, seats)
                ],
                "findings": findings.found(row, now),
                "break_glass": emergency.shown(row, now),
                "parked": parking.parked(row.data["description"]),
            }
        },
    )


def _seats(
    row: Row, listener: Listener, state: State, told: Mapping[str, SeatStatus]
) -> list[dict[str, Any]]:
    """One entry per kind of seat that the certificate has on `listener`."""
    assert row.content is not None
    named = {h for p in state.policies.values() if p.listener_id == listener.id for h in hosts(p)}
    found: dict[str, list[SeatStatus | None]] = {}
    for place in places(listener, state.certificates, named):
        kind = "default" if place.name is None else "sni"
        for seat, certificate in zip(place.seats, place.certificates, strict=True):
            if certificate == row.id:
                found.setdefault(kind, []).append(told.get(seat))
    bound = {
        "default": listener.default_tls_container_ref == row.id,
        "sni": row.id in (listener.sni_container_refs or ()),
    }
    return [
        {
            "listener_id": listener.id,
            "loadbalancer_id": listener.loadbalancer_id,
            "seat": kind,
            **_said(found.get(kind, []), row.content.chain.digest),
        }
        for kind, is_bound in bound.items()
        if is_bound
    ]


def _said(told: list[SeatStatus | None], digest: str) -> dict[str, Any]:
    """The state of all seats of one kind together: one that is refused tells most."""
    if told and all(one is not None and one.accepted == digest for one in told):
        since = [at for one in told if (at := getattr(one, "since", None)) is not None]
        return {"state": "accepted", "since": instant(max(since)) if since else None, "message": ""}
    for one in told:
        if one is not None and one.error and one.digest == digest:
            at = getattr(one, "since", None)
            return {"state": "rejected", "since": instant(at) if at else None, "message": one.error}
    return {"state": "pending", "since": None, "message": ""}


ROUTES: Final[tuple[Any, ...]] = (
    Route("GET", "/certificates/{id}/status", status, "Show where a certificate is served"),
)
