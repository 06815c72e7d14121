"""Plan the move of a host from one bound SNI certificate to another.

An ELB refuses two SNI certificates of one kind with the same name on one listener, and changes one certificate at a
time. So the host would get the default certificate for a moment. But a listener accepts all its references in one
write. So twins of the certificates are created with the wanted content and names, and the listener is pointed to them.
Then the certificates are changed while no listener uses them, the listener is pointed back, and the twins are deleted.
After an abandoned plan the next one continues. If no twin can be created (a quota), names are released first and
assigned afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Final

import msgspec

from certferry.core.model import naming as names
from certferry.core.model.elb import Certificate, Listener, State
from certferry.core.plan.steps import Step, certificate_step, deletion, step
from certferry.core.translate.certificate_slots import Claim, claims

STANDS_IN: Final = "it only stood in while a host moved"
TWIN: Final = names.TWIN


class SniMovePlan(msgspec.Struct, frozen=True, kw_only=True):
    """The steps around the change of the certificates, and the certificates and listeners concerned."""

    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    giving: frozenset[str] = frozenset()
    """Keys of certificates that release names between `before` and the listener."""
    releasing: frozenset[str] = frozenset()
    """Keys of certificates that only release names, after the listener has their replacements."""
    bound: frozenset[str] = frozenset()
    """Keys of certificates that a listener has now; they are changed after `before`."""
    listeners: frozenset[str] = frozenset()
    """Ids of listeners that point to twins meanwhile."""


def plan_sni_moves(desired: State, observed: State, ids: Mapping[str, str]) -> SniMovePlan:
    """Plan the twins for the hosts that move between `observed` and `desired`."""
    keys = {ids[key]: key for key in desired.certificates if key in ids}
    after = {key: claims(certificate) for key, certificate in desired.certificates.items()}
    before = {keys.get(ref, ref): claims(certificate) for ref, certificate in observed.certificates.items()}
    existing = {
        ref: frozenset(keys.get(r, r) for r in x.sni_container_refs or ()) for ref, x in observed.listeners.items()
    }
    bound = frozenset().union(*existing.values()) & after.keys()
    losing = frozenset(key for key in before.keys() & after.keys() if before[key] - after[key])
    moving: dict[str, Set[str]] = {}
    for key, want in sorted(desired.listeners.items()):
        if ids.get(key) in existing:
            staying = frozenset(want.sni_container_refs or ())
            moving[key] = _movers(staying, existing[ids[key]] & before.keys(), before, after)
    moving = {key: movers for key, movers in moving.items() if movers}
    concerned = frozenset().union(*moving.values())
    replaced = {key: _managed(desired.listeners[key], movers) for key, movers in moving.items()}
    makes, removes = _twin_steps(frozenset().union(*replaced.values()), desired, observed, ids)
    points = [_pointed(key, movers, desired, observed, ids, bound) for key, movers in replaced.items()]
    return SniMovePlan(
        before=(*makes, *points),
        after=removes,
        giving=losing & concerned,
        releasing=(losing & bound) - concerned,
        bound=bound,
        listeners=frozenset(ids[key] for key in moving),
    )


def leftover_stand_ins(observed: State, cluster_id: str) -> Mapping[str, str]:
    """Return the twins that an abandoned plan left: key → id."""
    return {
        f"@twin/{said[TWIN]}": c.id
        for c in observed.certificates.values()
        if TWIN in (said := names.described(c.description)) and said.get("cluster_id") == cluster_id
    }


def _movers(
    staying: Set[str], bound: Set[str], before: Mapping[str, Set[Claim]], after: Mapping[str, Set[Claim]]
) -> frozenset[str]:
    """Return the certificates of a listener between which, or from which, a name moves.

    `bound`: the certificates that it has; `staying`: those that it is to have. `before`, `after`: the claims of each.
    """
    holders = {claim: key for key in bound for claim in before[key]}
    moving: set[str] = set()
    for key in (bound | staying) & after.keys():
        has = before[key] if key in bound else frozenset()
        for holder in {holders[claim] for claim in after[key] - has if claim in holders} - {key}:
            # a removed one makes room for a new one in the same write
            if holder in staying or key in bound:
                moving |= {holder, *({key} & bound)}
        # a certificate of another listener still has the names that it is about to release
        if key in staying - bound and (lost := before.get(key, frozenset()) - after[key]):
            others = [world.get(other, frozenset()) for world in (before, after) for other in staying - {key}]
            if any(lost & names for names in others):
                moving.add(key)
    return frozenset(moving)


def _managed(listener: Listener, movers: Set[str]) -> frozenset[str]:
    """Return those of `movers` that the listener is to have and that a twin may stand in for."""
    return frozenset(key for key in listener.sni_container_refs or () if key in movers and key.startswith("@"))


def _twin_steps(
    movers: Set[str], desired: State, observed: State, ids: Mapping[str, str]
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Return the steps that create or update the twins of `movers`, and those that delete the created ones."""
    makes, removes = [], []
    for mover in sorted(movers):
        twin = _twin(desired.certificates[mover])
        present = observed.certificates.get(ids.get(twin.id, ""))
        if made := certificate_step(twin.id, twin, present):
            why = f"it stands in for {desired.certificates[mover].name} while a host moves"
            makes.append(msgspec.structs.replace(made, why=why))
        if present is None:
            removes.append(msgspec.structs.replace(deletion("certificate", twin.id, twin.name, STANDS_IN), id=None))
    return tuple(makes), tuple(removes)


def _twin(of: Certificate) -> Certificate:
    said = dict(names.described(of.description))
    uid = said.pop("secret_id")
    cluster_id = said.pop("cluster_id")
    return msgspec.structs.replace(
        of,
        id=f"@twin/{uid}",
        name=f"{of.name[: names.MAX_NAME - 5]}_twin",
        description=names.describe(cluster_id, **{TWIN: uid}),
    )


def _pointed(
    key: str, movers: Set[str], desired: State, observed: State, ids: Mapping[str, str], bound: Set[str]
) -> Step:
    """Return the update that points the listener to twins in place of the movers."""
    want, have = desired.listeners[key], observed.listeners[ids[key]]
    refs = [
        f"@twin/{ref.removeprefix('@certificate/')}" if ref in movers else ref for ref in want.sni_container_refs or ()
    ]
    fields: dict[str, Any] = {"sni_container_refs": refs}
    default = want.default_tls_container_ref
    if default and default not in bound and ids.get(default, default) != have.default_tls_container_ref:
        fields["default_tls_container_ref"] = default
    return step(
        "update",
        "listener",
        key,
        fields,
        "a host moves without a moment on the default certificate",
        name=want.name or key,
        id=have.id,
    )
