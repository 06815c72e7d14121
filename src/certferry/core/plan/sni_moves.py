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
from certferry.core.translate.certificate_slots import claims

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
    losing = frozenset(k for k in desired.certificates if _lost(k, desired, observed, ids))
    bound_ids = {ref for it in observed.listeners.values() for ref in it.sni_container_refs or ()}
    bound = frozenset(k for k in desired.certificates if ids.get(k) in bound_ids)
    concerned: dict[str, set[str]] = {}
    concerned_keys: set[str] = set()
    for key, want in sorted(desired.listeners.items()):
        have = observed.listeners.get(ids.get(key, ""))
        movers = _movers(want, have, desired, observed, ids) if have else set()
        if movers:
            concerned_keys |= {k for k in desired.certificates if ids.get(k) in movers}
            concerned[key] = {k for k in want.sni_container_refs or () if k.startswith("@") and ids.get(k) in movers}
    twin_of = {m: _twin(desired.certificates[m]) for m in sorted(set().union(*concerned.values()))}
    makes, removes = [], []
    for mover, twin in twin_of.items():
        present = observed.certificates.get(ids.get(twin.id, ""))
        if made := certificate_step(twin.id, twin, present):
            why = f"it stands in for {desired.certificates[mover].name} while a host moves"
            makes.append(msgspec.structs.replace(made, why=why))
        if present is None:
            made_gone = deletion("certificate", twin.id, twin.name, STANDS_IN)
            removes.append(msgspec.structs.replace(made_gone, id=None))
    points = [_pointed(key, movers, desired, observed, ids, bound) for key, movers in concerned.items()]
    return SniMovePlan(
        before=(*makes, *points),
        after=tuple(removes),
        giving=losing & concerned_keys,
        releasing=(losing & bound) - concerned_keys,
        bound=bound,
        listeners=frozenset(ids[key] for key in concerned),
    )


def leftover_stand_ins(observed: State, cluster_id: str) -> Mapping[str, str]:
    """Return the twins that an abandoned plan left: key → id."""
    return {
        f"@twin/{said[TWIN]}": c.id
        for c in observed.certificates.values()
        if TWIN in (said := names.described(c.description)) and said.get("cluster_id") == cluster_id
    }


def _lost(key: str, desired: State, observed: State, ids: Mapping[str, str]) -> bool:
    have = observed.certificates.get(ids.get(key, ""))
    return have is not None and bool(claims(have) - claims(desired.certificates[key]))


def _movers(want: Listener, have: Listener, desired: State, observed: State, ids: Mapping[str, str]) -> set[str]:
    """Return ids of the certificates on the listener between which, or from which, a name moves."""
    bound = [ref for ref in have.sni_container_refs or () if ref in observed.certificates]
    there = {claim: ref for ref in bound for claim in claims(observed.certificates[ref])}
    staying = {ids.get(key, key) for key in want.sni_container_refs or ()}
    moving: set[str] = set()
    for key, after in desired.certificates.items():
        ref = ids.get(key, key)
        before = claims(observed.certificates[ref]) if ref in bound else set()
        if ref not in bound and ref not in staying:
            continue
        for claim in claims(after) - before:
            holder = there.get(claim)
            # a removed one makes room for a new one in the same write
            if holder is not None and holder != ref and (holder in staying or ref in bound):
                moving |= {holder, *({ref} & set(bound))}
    return moving


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
    key: str, movers: set[str], desired: State, observed: State, ids: Mapping[str, str], bound: Set[str]
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
