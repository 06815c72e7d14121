"""Carrying out a plan: the only writes to the ELB, beside the fast path's one PUT.

Called by the loop. It puts real ids in place of keys, reads a Secret's pair when a step needs it,
and goes on after a refusal with what does not depend on it. It decides nothing and repeats nothing:
an ELB that does not answer ends it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from certferry.controller.sync.observed_state import ObservedState
from certferry.core.model.kubernetes import Name, Secret, parse_secret
from certferry.core.plan.plan import Step
from certferry.core.x509.pem import KeyPair
from certferry.elb.client import client as elbs
from certferry.elb.client.client import ElbClient, ElbError, Resource
from certferry.kube.client.client import SECRET, KubeClient, KubeError
from certferry.runtime.metrics import Metrics

_RESOURCES: Final[Mapping[str, Resource]] = {
    "loadbalancer": elbs.LOADBALANCERS,
    "certificate": elbs.CERTIFICATES,
    "pool": elbs.POOLS,
    "healthmonitor": elbs.HEALTHMONITORS,
    "listener": elbs.LISTENERS,
    "policy": elbs.POLICIES,
}
_REFERENCES: Final = ("_id", "_ref", "_refs")


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A step that was refused, and why."""

    step: Step
    sentence: str
    code: str = ""
    """The ELB's."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a plan."""

    done: tuple[Step, ...] = ()
    failures: tuple[Failure, ...] = ()
    skipped: tuple[Step, ...] = ()
    """Steps that needed what a failed one was to make."""
    superseded: tuple[Step, ...] = ()
    """Steps whose Secret has a newer content than the plan knew."""

    @property
    def structural(self) -> bool:
        """Whether more happened than new contents, so that it is worth reading the ELB again."""
        return any(s.kind != "certificate" or s.verb != "update" for s in self.done)


class SupersededError(Exception):
    """The Secret holds something else by now."""


class MissingReferenceError(Exception):
    """A step refers to what does not exist."""


class ApplyContext(msgspec.Struct, frozen=True, kw_only=True):
    """What applying needs."""

    elb: ElbClient
    kube: KubeClient
    world: ObservedState
    metrics: Metrics
    secret: Callable[[Name], Secret | None]
    """The newest known facts of a Secret."""


async def apply(
    steps: Sequence[Step], ids: Mapping[str, str], material: Mapping[str, Name], hands: ApplyContext
) -> Outcome:
    """Carry out `steps` in order. `ids`: key → id of what exists; `material`: digest → Secret.

    Raises ``ElbError`` or ``KubeError`` when a remote does not answer; what was done is in the ELB.
    """
    known = dict(ids)
    done, failures, lost, overtaken = list[Step](), list[Failure](), list[Step](), list[Step]()
    try:
        for step in steps:
            try:
                await _execute(step, known, material, hands)
                done.append(step)
            except MissingReferenceError:
                lost.append(step)
            except SupersededError:
                overtaken.append(step)
            except ElbError as error:
                if error.retryable:
                    raise
                known.pop(step.key, None)
                failures.append(Failure(step=step, sentence=error.message, code=error.code))
            except KubeError as error:
                if error.retryable:
                    raise
                sentence = f"its Secret cannot be read: {error.message}"
                failures.append(Failure(step=step, sentence=sentence))
    finally:
        hands.world.record_steps(done)
    for end, many in (("done", done), ("failed", [f.step for f in failures]), ("lost", lost)):
        for step in many:
            hands.metrics.steps.labels(step.kind, end).inc()
    return Outcome(
        done=tuple(done), failures=tuple(failures), skipped=tuple(lost), superseded=tuple(overtaken)
    )


async def _execute(
    step: Step, known: dict[str, str], material: Mapping[str, Name], hands: ApplyContext
) -> None:
    if step.kind == "certificate" and step.verb != "delete":
        await _certificate(step, known, material, hands)
        return
    resource = _resource(step, known)
    if step.verb == "delete":
        hands.metrics.elb_writes.labels("delete", step.kind).inc()
        await hands.elb.delete(resource, step.id or _id(step.key, known))
        return
    fields = resolve_references(step.fields, known)
    hands.metrics.elb_writes.labels(step.verb, step.kind).inc()
    if step.verb == "create":
        made = await hands.elb.create(resource, fields)
        known[step.key] = str(made["id"])
    else:
        await hands.elb.update(resource, step.id or known[step.key], fields)


async def _certificate(
    step: Step, known: dict[str, str], material: Mapping[str, Name], hands: ApplyContext
) -> None:
    if step.material is None:
        await _write(step, dict(step.fields), known, hands)
        return
    name = material.get(step.material)
    if name is None:
        raise MissingReferenceError
    async with hands.world.lock(step.key.removeprefix("@certificate/")):
        newest = hands.secret(name)
        if newest is None or newest.chain is None or newest.chain.digest != step.material:
            raise SupersededError
        state = hands.world.state
        present = state.certificates.get(step.id or "") if state else None
        if present and present.chain and present.chain.digest == step.material and not step.fields:
            raise SupersededError
        pair = await _pair(name, step.material, hands.kube)
        await _write(step, content(step.fields, pair), known, hands)


def content(fields: Mapping[str, Any], pair: KeyPair) -> dict[str, Any]:
    """`fields` and both halves of `pair`, as one write carries them."""
    return {**fields, "certificate": pair.chain.pem, "private_key": pair.key.reveal()}


async def _write(step: Step, fields: dict[str, Any], known: dict[str, str], hands: ApplyContext) -> None:
    hands.metrics.elb_writes.labels(step.verb, "certificate").inc()
    write: Awaitable[Any]
    if step.verb == "create":
        write = hands.elb.create_certificate(fields)
    else:
        write = hands.elb.update_certificate(step.id or known[step.key], fields)
    certificate = await write
    known[step.key] = certificate.id
    hands.world.record_certificate(certificate)


async def _pair(name: Name, digest: str, kube: KubeClient) -> KeyPair:
    try:
        item = await kube.get(SECRET, name.name, name.namespace)
    except KubeError as error:
        if error.status == 404:
            raise SupersededError from None
        raise
    _, pair = parse_secret(item)
    if pair is None or pair.chain.digest != digest:
        raise SupersededError
    return pair


def _resource(step: Step, known: Mapping[str, str]) -> Resource:
    if step.kind == "member":
        return elbs.members_of(_id(step.parent or "", known))
    return _RESOURCES[step.kind]


def resolve_references(fields: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, Any]:
    """`fields` with the ids of what their references name; raises ``Lost`` where there is none."""
    return {
        field: _reference(value, known) if field.endswith(_REFERENCES) else value
        for field, value in fields.items()
    }


def _reference(value: Any, known: Mapping[str, str]) -> Any:
    if isinstance(value, list | tuple):
        return [_reference(v, known) for v in value]
    return _id(value, known) if isinstance(value, str) else value


def _id(reference: str, known: Mapping[str, str]) -> str:
    if not reference.startswith("@"):
        return reference
    if reference not in known:
        raise MissingReferenceError
    return known[reference]
