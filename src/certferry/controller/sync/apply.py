"""Execution of a plan: the only writes to the ELB beside those of the fast paths and the rollback.

It replaces keys by ids and reads a Secret's pair when a step needs it. After a rejected step it goes on with the
steps that do not depend on it. It never retries; an ELB that does not answer ends the plan.
"""

from __future__ import annotations

import asyncio
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from certferry.controller.sync.observed_state import ObservedState
from certferry.core.model.elb import Certificate
from certferry.core.model.kubernetes import Name, Secret, parse_secret
from certferry.core.plan.plan import Step
from certferry.core.x509.pem import KeyPair
from certferry.elb.client import client as elbs
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbClient, ElbError, Resource
from certferry.elb.client.extensions import BulkItem
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
_BULK_FROM: Final = 8
"""Steps of a plan from which on the bulk call is worth asking for."""
_GROUP: Final = 200
"""Steps in one bulk call: the ELB's other writers wait for it."""
_BODY: Final = 800_000
"""Bytes of a bulk call, below the ELB's limit of 1 MiB."""
_ITEM, _KEY = 200, 8_000
"""Bytes to allow for an item's envelope and for a private key."""
_READS: Final = 16
"""Secrets that are read at the same time."""
_DEPENDENT: Final = 424
"""The status of an item that refers to an object which a failed item should have created."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A step that the ELB rejected, and why."""

    step: Step
    sentence: str
    """Without a final period."""
    code: str = ""
    """The ELB's error code."""
    status: int = 0
    """The HTTP status; 0: not of the ELB."""

    @property
    def by_content(self) -> bool:
        """Return whether the ELB rejected the body of the request, and not its owner, its state or a quota."""
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

    An ELB with the bulk call gets many steps at a time. Raises ElbError or KubeError if a server does not answer; the
    steps before it are done.
    """
    execution = _Execution(existing, material, context)
    groups: Iterable[Sequence[Step]] = ((step,) for step in steps)
    if len(steps) >= _BULK_FROM and "bulk" in await extensions.available(context.elb):
        groups = _groups(steps, context, material)
    queue = list(groups)
    reading = asyncio.create_task(execution.pairs(queue[0] if queue else ()))
    try:
        for group, following in zip(queue, [*queue[1:], ()], strict=True):
            pairs = await reading
            # while the ELB works on this group
            reading = asyncio.create_task(execution.pairs(following))
            await execution.run(group, pairs)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        context.observed.record_steps(execution.done)
    return execution.outcome()


class _Write(NamedTuple):
    """A step with ids in place of keys, and with the Secret's pair."""

    step: Step
    resource: Resource
    id: str
    fields: dict[str, Any]

    def item(self, number: int) -> BulkItem:
        """Return the write as the item `number` of a bulk call."""
        if self.step.verb == "create":
            body = {self.resource.one: self.fields}
            return BulkItem(method="POST", path=f"/{self.resource.path}", key=str(number), body=body)
        path = f"/{self.resource.path}/{self.id}"
        if self.step.verb == "delete":
            return BulkItem(method="DELETE", path=path)
        return BulkItem(method="PUT", path=path, body={self.resource.one: self.fields})


_Pairs: TypeAlias = Mapping[str, KeyPair | Exception]
"""The pairs that were read from Secrets, or the errors of reading them, by chain digest."""


class _Execution:
    """The progress of one plan."""

    def __init__(self, existing: Mapping[str, str], material: Mapping[str, Name], context: ApplyContext) -> None:
        self._ids = dict(existing)
        self._material = material
        self._context = context
        self.done: list[Step] = []
        self._failures: list[Failure] = []
        self._skipped: list[Step] = []
        self._superseded: list[Step] = []

    def outcome(self) -> Outcome:
        """Return the result, and count it in the metrics."""
        for result, steps in (
            ("done", self.done),
            ("failed", [failure.step for failure in self._failures]),
            ("skipped", self._skipped),
        ):
            for step in steps:
                self._context.metrics.steps.labels(step.kind, result).inc()
        return Outcome(
            done=tuple(self.done),
            failures=tuple(self._failures),
            skipped=tuple(self._skipped),
            superseded=tuple(self._superseded),
        )

    async def run(self, steps: Sequence[Step], pairs: _Pairs) -> None:
        """Execute `steps`, of which later ones may refer to earlier ones; `pairs` of them were read before."""
        try:
            await self._run(steps, pairs)
        except ElbError as error:
            if error.retryable:
                raise
            # The ELB rejected the bulk call itself, and stored nothing.
            for step in steps:
                await self._run([step], pairs)

    async def _run(self, steps: Sequence[Step], pairs: _Pairs) -> None:
        async with AsyncExitStack() as locks:
            for uid in dict.fromkeys(_secret_uid(step) for step in steps if step.material is not None):
                await locks.enter_async_context(self._context.observed.lock(uid))
            writes: list[_Write] = []
            pending: dict[str, str] = {}
            for step in steps:
                if (write := self._prepare(step, ChainMap(pending, self._ids), pairs)) is not None:
                    if step.verb == "create":
                        pending[step.key] = f"@{len(writes)}"
                    writes.append(write)
            if len(writes) > 1:
                await self._send_together(writes)
            elif writes:
                await self._send(writes[0])

    async def pairs(self, steps: Sequence[Step]) -> _Pairs:
        """Read the pairs that `steps` need, by chain digest; an exception for one that cannot be used."""
        wanted = {
            step.material: name
            for step in steps
            if step.material is not None and (name := self._material.get(step.material)) is not None
        }
        limit = asyncio.Semaphore(_READS)

        async def read(name: Name, digest: str) -> KeyPair:
            async with limit:
                return await _pair(name, digest, self._context.kube)

        results = await asyncio.gather(*(read(n, d) for d, n in wanted.items()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, SupersededError | KubeError):
                raise result
            if isinstance(result, KubeError) and result.retryable:
                raise result
        return dict(zip(wanted, results, strict=True))  # type: ignore[arg-type]

    def _prepare(self, step: Step, ids: Mapping[str, str], pairs: _Pairs) -> _Write | None:
        """Return the write of `step`; None if it is not to be done, which is recorded."""
        try:
            resource = _resource(step, ids)
            identity = "" if step.verb == "create" else step.id or _id(step.key, ids)
            fields = resolve_references(step.fields, ids)
            if step.material is not None:
                fields = content(fields, self._material_of(step, step.material, pairs))
            return _Write(step, resource, identity, fields)
        except MissingReferenceError:
            self._skipped.append(step)
        except SupersededError:
            self._superseded.append(step)
        except KubeError as error:
            self._failures.append(Failure(step=step, sentence=f"its Secret cannot be read: {error.message}"))
        return None

    def _material_of(self, step: Step, digest: str, pairs: _Pairs) -> KeyPair:
        name = self._material.get(digest)
        if name is None:
            raise MissingReferenceError
        newest = self._context.secret(name)
        if newest is None or newest.chain is None or newest.chain.digest != digest:
            raise SupersededError
        state = self._context.observed.state
        present = state.certificates.get(step.id or "") if state else None
        if present and present.chain and present.chain.digest == digest and not step.fields:
            raise SupersededError
        pair = pairs[digest]
        if isinstance(pair, Exception):
            raise pair
        return pair

    async def _send(self, write: _Write) -> None:
        """Do one write by the vendor's API. Raises ElbError if the ELB does not answer."""
        step, elb = write.step, self._context.elb
        self._context.metrics.elb_writes.labels(step.verb, step.kind).inc()
        try:
            if step.verb == "delete":
                await elb.delete(write.resource, write.id)
            elif step.kind == "certificate":
                call = elb.create_certificate(write.fields) if step.verb == "create" else None
                certificate = await (call or elb.update_certificate(write.id, write.fields))
                self._ids[step.key] = certificate.id
                self._context.observed.record_certificates(certificate)
            elif step.verb == "create":
                self._ids[step.key] = str((await elb.create(write.resource, write.fields))["id"])
            else:
                await elb.update(write.resource, write.id, write.fields)
        except ElbError as error:
            if error.retryable:
                raise
            self._fail(step, error)
        else:
            self.done.append(step)

    def _fail(self, step: Step, error: ElbError) -> None:
        self._ids.pop(step.key, None)
        self._failures.append(Failure(step=step, sentence=error.message, code=error.code, status=error.status))

    async def _send_together(self, writes: Sequence[_Write]) -> None:
        """Do many writes by one bulk call. Raises ElbError if the ELB does not answer."""
        items = [write.item(number) for number, write in enumerate(writes)]
        results = await extensions.write_bulk(self._context.elb, items)
        certificates: list[Certificate] = []
        for write, result in zip(writes, results, strict=True):
            step = write.step
            self._context.metrics.elb_writes.labels(step.verb, step.kind).inc()
            if result.status < 400 or (step.verb == "delete" and result.status == 404):
                self.done.append(step)
                if step.verb == "create":
                    self._ids[step.key] = result.id
                if (certificate := result.certificate) is not None:
                    certificates.append(certificate)
            elif result.status == _DEPENDENT:
                self._skipped.append(step)
            else:
                self._fail(step, ElbError(result.status, result.error_code, result.error_msg))
        self._context.observed.record_certificates(*certificates)


def _groups(steps: Sequence[Step], context: ApplyContext, material: Mapping[str, Name]) -> Iterator[Sequence[Step]]:
    """Cut `steps` into bulk calls that the ELB accepts."""
    start = size = 0
    for number, step in enumerate(steps):
        length = len(msgspec.json.encode(step.fields)) + _ITEM
        if step.material is not None and (name := material.get(step.material)) is not None:
            secret = context.secret(name)
            length += len(secret.chain.pem) + _KEY if secret and secret.chain else 0
        if number > start and (number - start == _GROUP or size + length > _BODY):
            yield steps[start:number]
            start, size = number, 0
        size += length
    yield steps[start:]


def _secret_uid(step: Step) -> str:
    return step.key.removeprefix("@certificate/")


def content(fields: Mapping[str, Any], pair: KeyPair) -> dict[str, Any]:
    """Return the body of a write: `fields` and both halves of `pair`."""
    return {**fields, "certificate": pair.chain.pem, "private_key": pair.key.reveal()}


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
