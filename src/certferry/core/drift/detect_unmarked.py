"""Detect drift without marks, from the state of the last reconcile.

Members and default pools have no description of their own, and deleted objects have none any more. Policies and members
of other clients lack our marks. This drift is reverted in every mode, because requests fail or go to a wrong backend;
only policies of other clients are reported and stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from certferry.core.drift.drift import Drift, Kind
from certferry.core.model import naming as names
from certferry.core.model.elb import Listener, Member, Pool, State
from certferry.core.plan.steps import Step
from certferry.core.translate.listener_options import NO_ACCESS_LIST

_KINDS: Final[Mapping[str, Kind]] = {
    "@certificate": "certificate",
    "@listener": "listener",
    "@pool": "pool",
    "@policy": "policy",
}
_OURS: Final = re.compile(r"[0-9a-f]{32}")
"""The names of members that a controller created, ours or the vendor's (table 1.2)."""


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the last reconcile, without our own changes since."""

    ids: Mapping[str, str] = MappingProxyType({})
    """Key → id."""
    state: State = State()

    def shared_out(self, pools: Mapping[str, Pool]) -> Baseline:
        """Return the baseline after we set the members of `pools` (by id)."""
        return replace(self, state=replace(self.state, pools={**self.state.pools, **pools}))

    def changed(self, steps: Iterable[Step]) -> Baseline:
        """Return the baseline without the objects that our `steps` changed."""
        touched = {step.id for step in steps}
        pools = {
            ref: replace(pool, members=tuple(m for m in pool.members if m.id not in touched))
            for ref, pool in self.state.pools.items()
        }
        left = replace(
            self.state, listeners={k: v for k, v in self.state.listeners.items() if k not in touched}, pools=pools
        )
        return Baseline(ids={k: v for k, v in self.ids.items() if v not in touched}, state=left)


NOTHING: Final = Baseline()


def deleted(desired: State, observed: State, ids: Mapping[str, str], known: Baseline) -> Iterator[Drift]:
    """Yield desired objects that existed and were deleted."""
    there = {*observed.certificates, *observed.listeners, *observed.pools, *observed.policies}
    wanted: dict[str, Any] = {**desired.certificates, **desired.listeners, **desired.pools, **desired.policies}
    for key, ref in known.ids.items():
        kind = _KINDS.get(key.partition("/")[0])
        if kind and key in wanted and key not in ids and ref not in there:
            yield _drift(kind, ref, key, wanted[key].name or key, "deleted")


def added(desired: State, observed: State, ids: Mapping[str, str]) -> Iterator[Drift]:
    """Yield policies that another client added to our listeners; they are only reported."""
    ours = {ids[key]: key for key in desired.listeners if key in ids}
    for policy in observed.policies.values():
        if policy.listener_id in ours and "cluster_id" not in names.described(policy.description):
            found = _drift("policy", policy.id, ours[policy.listener_id], policy.name or policy.id, "added")
            yield replace(found, mode="report")


def default_pool_changes(desired: State, observed: State, ids: Mapping[str, str], known: Baseline) -> Iterator[Drift]:
    """Yield default pools of listeners that another client changed."""
    for key, listener in desired.listeners.items():
        ref, pool = ids.get(key, ""), listener.default_pool_id
        before, now = known.state.listeners.get(ref), observed.listeners.get(ref)
        if before is None or now is None or pool is None:
            continue
        left, have, want = before.default_pool_id or "", now.default_pool_id or "", ids.get(pool, pool)
        if left == want != have:
            yield _drift("listener", ref, key, listener.name or key, "default_pool_id", have, want)


def without_foreign_access_list(want: Listener, have: Listener, known: Baseline) -> Listener:
    """Declare that a listener has no access list if another client set one and no Ingress asks for any.

    A list that an annotation set stays when the annotation goes (table 1.10). So only a list that was not there
    at the last look is foreign.
    """
    before, group = known.state.listeners.get(have.id), have.ipgroup
    if want.ipgroup is not None or before is None or group is None or not group.ipgroup_id:
        return want
    if before.ipgroup is not None and before.ipgroup.ipgroup_id:
        return want
    return replace(want, ipgroup=NO_ACCESS_LIST)


def members(desired: State, observed: State, ids: Mapping[str, str], known: Baseline) -> Iterator[Drift]:
    """Yield backend servers that another client removed, added, or gave another weight."""
    for key, pool in desired.pools.items():
        have = observed.pools.get(ids.get(key, ""))
        if have is not None and _places(pool) != _places(have):  # of ten thousand pools nearly all are right
            yield from _members(key, pool, have, known.state.pools.get(have.id))


def _members(key: str, want: Pool, have: Pool, left: Pool | None) -> Iterator[Drift]:
    there, before = _by_place(have), _by_place(left)
    wanted = _by_place(want)
    for place, member in wanted.items():
        was, now = before.get(place), there.get(place)
        if was and now is None:
            yield _member(key, want, was, "deleted")
        elif was and now and was.weight == member.weight != now.weight:
            yield _member(key, want, now, "weight", now.weight, member.weight)
    for place, member in there.items():
        if place not in wanted and not _OURS.fullmatch(member.name):
            yield _member(key, want, member, "added")


def _places(pool: Pool) -> list[tuple[str, int, int]]:
    return [(m.address, m.protocol_port, m.weight) for m in pool.members]


def _by_place(pool: Pool | None) -> Mapping[tuple[str, int], Member]:
    return {(m.address, m.protocol_port): m for m in pool.members} if pool else {}


def _member(key: str, pool: Pool, member: Member, what: str, have: Any = None, want: Any = None) -> Drift:
    place = f"{member.address}:{member.protocol_port}"
    return _drift("member", member.id, f"@member/{place}/{key}", f"{place} of {pool.name}", what, have, want)


def _drift(kind: Kind, ref: str, key: str, name: str, what: str, have: Any = None, want: Any = None) -> Drift:
    texts = ["" if it is None else str(it) for it in (have, want)]
    return Drift(kind=kind, id=ref, key=key, name=name, what=what, have=texts[0], want=texts[1], mode="repair")
