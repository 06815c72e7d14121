"""Release the objects of a cluster on a load balancer, also of a cluster that no longer exists.

There are two ways. Un-own: traffic does not change, and users manage the objects from then on. Delete: in the order
of ``plan``, without objects that another client's listener uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from certferry.core.model import naming as names
from certferry.core.model.elb import Certificate, Listener, LoadBalancer, Policy, Pool, State
from certferry.core.plan.plan import Kind, plan


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One write."""

    verb: Literal["release", "update", "delete"]
    kind: Kind
    id: str
    name: str
    parent: str | None = None
    """Of a member: its pool."""
    fields: Mapping[str, object] = {}

    def __str__(self) -> str:
        return f"{self.verb:8} {self.kind:12} {self.id}  {self.name}".rstrip()


def clusters(observed: State) -> Mapping[str, int]:
    """Return the number of objects of each cluster on this ELB, by the id in descriptions, else the owner."""
    counts: dict[str, int] = {}
    for one in _all(observed):
        name = names.described(one.description).get("cluster_id") or getattr(one, "owner", None)
        if name:
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def un_owned(observed: State, cluster: str) -> tuple[Part, ...]:
    """Return the writes that remove the marks of `cluster` (its id, or the owner's name) and change nothing else."""
    ids = _ids(observed, cluster)
    parts = [
        *_released(_certificates(observed, cluster, ids).values(), cluster),
        *(
            Part(
                verb="update",
                kind=kind,
                id=owned_object.id,
                name=owned_object.name or "",
                fields={"description": _mark(cluster)},
            )
            for kind, many in _described(observed)
            for owned_object in many
            if names.described(owned_object.description).get("cluster_id") in ids
        ),
    ]
    return tuple(parts)


def deleted(observed: State, cluster: str) -> tuple[Part, ...]:
    """Return the writes that delete all objects of `cluster`, and un-own certificates that other listeners use."""
    ids = _ids(observed, cluster)
    steps = [step for one in sorted(ids) for step in plan(State(), observed, one)]
    certificates = _certificates(observed, cluster, ids)
    doomed = {step.id for step in steps if step.kind == "certificate"}
    parts = [
        Part(
            verb="delete" if step.verb == "delete" else "update",
            kind=step.kind,
            id=step.id or step.key,
            name=step.name,
            parent=step.parent,
            fields=step.fields,
        )
        for step in steps
    ]
    kept = [it for ref, it in certificates.items() if ref not in doomed]
    return (*_unlocked(parts, certificates), *_released(kept, cluster))


def _unlocked(parts: Iterable[Part], certificates: Mapping[str, Certificate]) -> Iterator[Part]:
    """Yield `parts` with the release of each certificate's lock right before its deletion."""
    for part in parts:
        it = certificates.get(part.id) if part.kind == "certificate" else None
        if it is not None and it.owner:
            yield Part(verb="release", kind="certificate", id=it.id, name=it.name)
        yield part


def _released(certificates: Iterable[Certificate], cluster: str) -> Iterator[Part]:
    for certificate in certificates:
        verb: Literal["release", "update"] = "release" if certificate.owner else "update"
        fields = {} if certificate.owner else {"description": _mark(cluster)}
        yield Part(verb=verb, kind="certificate", id=certificate.id, name=certificate.name, fields=fields)


def _ids(observed: State, cluster: str) -> frozenset[str]:
    """Return the ids in descriptions that denote `cluster`: itself, and those of certificates that it owns."""
    of_owner = {
        said["cluster_id"]
        for it in observed.certificates.values()
        if it.owner == cluster and "cluster_id" in (said := names.described(it.description))
    }
    return frozenset({cluster, *of_owner})


def _certificates(observed: State, cluster: str, ids: frozenset[str]) -> Mapping[str, Certificate]:
    return {
        ref: it
        for ref, it in observed.certificates.items()
        if it.owner == cluster or names.described(it.description).get("cluster_id") in ids
    }


def _described(observed: State) -> tuple[tuple[Kind, tuple[_Described, ...]], ...]:
    return (
        ("pool", tuple(observed.pools.values())),
        ("listener", tuple(observed.listeners.values())),
        ("policy", tuple(observed.policies.values())),
        ("loadbalancer", tuple(observed.loadbalancers.values())),
    )


_Described = Pool | Listener | Policy | LoadBalancer


def _all(observed: State) -> Iterator[_Described | Certificate]:
    for _, many in _described(observed):
        yield from many
    yield from observed.certificates.values()


def _mark(cluster: str) -> str:
    return f"Released from cluster {cluster}"[:255]
