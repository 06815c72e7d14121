"""Execution of a plan: the only writes to the ELB beside those of the fast paths and the rollback.

It replaces keys by ids and reads a Secret's pair when a step needs it. After a rejected step it goes on with the
steps that do not depend on it. It never retries; an ELB that does not answer ends the plan.
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
QUOTA_CODES: Final = ("ELB.8905", "ELB.5151")
"""Error codes of ELBs for an exhausted quota: of any kind, and of certificates."""
_REFERENCES: Final = ("_id", "_ref", "_refs")


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A step that the ELB rejected, and why."""

    step: Step
    sentence: str
    code: str = ""
    """The ELB's error code."""
    status: int = 0
    """The HTTP status; 0: not of the ELB."""

    @property
    def by_content(self) -> bool:
        """Whether the ELB rejected the body of the request, and not its owner, its state or a quota."""
        return self.status in (400, 422) and self.code not in QUOTA_CODES


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a plan."""

    done: tuple[Step, ...] = ()
    failures: tuple[Failure, ...] = ()
    skipped: tuple[Step, ...] = ()
    """Steps that needed an object which a failed step should have created."""
    superseded: tuple[Step, ...] = ()
    """Steps whose Secret has newer content than the plan."""

    @property
    def structural(self) -> bool:
        """True if more than contents changed, so that the ELB should be read again."""
        return any(s.kind != "certificate" or s.verb != "update" for s in self.done)


class SupersededError(Exception):
    """The Secret has newer content."""


class MissingReferenceError(Exception):
    """A step refers to an object that does not exist."""


class ApplyContext(msgspec.Struct, frozen=True, kw_only=True):
    """Clients and state that writes need."""

    elb: ElbClient
    kube: KubeClient
    observed: ObservedState
    metrics: Metrics
    secret: Callable[[Name], Secret | None]
    """Returns the newest facts of a Secret."""


async def apply(
    steps: Sequence[Step], existing: Mapping[str, str], material: Mapping[str, Name], context: ApplyContext
) -> Outcome:
    """Execute `steps` in order. `existing`: key to id of existing objects; `material`: chain digest to Secret.

    Raises ElbError or KubeError if a server does not answer; the steps before it are done.
    """
    ids = dict(existing)
    done, failures, skipped, superseded = list[Step](), list[Failure](), list[Step](), list[Step]()
    try:
        for step in steps:
            try:
                await _execute(step, ids, material, context)
                done.append(step)
            except MissingReferenceError:
                skipped.append(step)
            except SupersededError:
                superseded.append(step)
            except ElbError as error:
                if error.retryable:
                    raise
                ids.pop(step.key, None)
                failures.append(Failure(step=step, sentence=error.message, code=error.code, status=error.status))
            except KubeError as error:
                if error.retryable:
                    raise
                sentence = f"its Secret cannot be read: {error.message}"
                failures.append(Failure(step=step, sentence=sentence))
    finally:
        context.observed.record_steps(done)
    for result, steps_of_it in (("done", done), ("failed", [f.step for f in failures]), ("skipped", skipped)):
        for step in steps_of_it:
            context.metrics.steps.labels(step.kind, result).inc()
    return Outcome(done=tuple(done), failures=tuple(failures), skipped=tuple(skipped), superseded=tuple(superseded))


async def _execute(step: Step, ids: dict[str, str], material: Mapping[str, Name], context: ApplyContext) -> None:
    if step.kind == "certificate" and step.verb != "delete":
        await _certificate(step, ids, material, context)
        return
    resource = _resource(step, ids)
    if step.verb == "delete":
        context.metrics.elb_writes.labels("delete", step.kind).inc()
        await context.elb.delete(resource, step.id or _id(step.key, ids))
        return
    fields = resolve_references(step.fields, ids)
    context.metrics.elb_writes.labels(step.verb, step.kind).inc()
    if step.verb == "create":
        created = await context.elb.create(resource, fields)
        ids[step.key] = str(created["id"])
    else:
        await context.elb.update(resource, step.id or ids[step.key], fields)


async def _certificate(step: Step, ids: dict[str, str], material: Mapping[str, Name], context: ApplyContext) -> None:
    if step.material is None:
        await _write(step, dict(step.fields), ids, context)
        return
    name = material.get(step.material)
    if name is None:
        raise MissingReferenceError
    async with context.observed.lock(step.key.removeprefix("@certificate/")):
        newest = context.secret(name)
        if newest is None or newest.chain is None or newest.chain.digest != step.material:
            raise SupersededError
        state = context.observed.state
        present = state.certificates.get(step.id or "") if state else None
        if present and present.chain and present.chain.digest == step.material and not step.fields:
            raise SupersededError
        pair = await _pair(name, step.material, context.kube)
        await _write(step, content(step.fields, pair), ids, context)


def content(fields: Mapping[str, Any], pair: KeyPair) -> dict[str, Any]:
    """Return the body of a write: `fields` and both halves of `pair`."""
    return {**fields, "certificate": pair.chain.pem, "private_key": pair.key.reveal()}


async def _write(step: Step, fields: dict[str, Any], ids: dict[str, str], context: ApplyContext) -> None:
    context.metrics.elb_writes.labels(step.verb, "certificate").inc()
    write: Awaitable[Any]
    if step.verb == "create":
        write = context.elb.create_certificate(fields)
    else:
        write = context.elb.update_certificate(step.id or ids[step.key], fields)
    certificate = await write
    ids[step.key] = certificate.id
    context.observed.record_certificate(certificate)


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


def _resource(step: Step, ids: Mapping[str, str]) -> Resource:
    if step.kind == "member":
        return elbs.members_of(_id(step.parent or "", ids))
    return _RESOURCES[step.kind]


def resolve_references(fields: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """Return `fields` with ids in place of references. Raises MissingReferenceError if one has no object."""
    return {field: _reference(value, ids) if field.endswith(_REFERENCES) else value for field, value in fields.items()}


def _reference(value: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(value, list | tuple):
        return [_reference(v, ids) for v in value]
    return _id(value, ids) if isinstance(value, str) else value


def _id(reference: str, ids: Mapping[str, str]) -> str:
    if not reference.startswith("@"):
        return reference
    if reference not in ids:
        raise MissingReferenceError
    return ids[reference]
