"""Process a cluster and its ELB although one object cannot be processed: the object is left out.

An unexpected error over one object is a defect of ours. Invariant: it never changes the result for another object. The
objects at fault are determined by trial, so that no step of the processing needs a rule of its own.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec.structs import replace

from certferry.core.model import naming as names
from certferry.core.model.elb import Certificate, State
from certferry.core.model.kubernetes import ClusterView, Ingress, ObjectRef, Secret, SecretProblem, Service
from certferry.core.model.problems import Problem
from certferry.core.translate.ingress_annotations import PREFIX

T = TypeVar("T")

_FIELDS: Final = ("ingresses", "services", "slices", "secrets")
IDS: Final = f"{PREFIX}tls-certificate-ids"


class SkippedObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object that cannot be processed."""

    field: str
    """The field of ``ClusterView`` that holds it; ``certificates``: the one of ``State``."""
    key: Any
    """Its key in that field."""
    value: Any
    """The version that cannot be processed."""
    error: str = ""
    """The type of the error and the function that raised it; no text of the object."""

    def refs(self, view: ClusterView) -> tuple[ObjectRef, ...]:
        """Return the objects of `view` to report on: for an ELB certificate its Secret, or the Ingresses that name it."""
        if isinstance(self.value, Certificate):
            uid = names.described(self.value.description).get("secret_id")
            secrets = tuple(s.ref for s in view.secrets.values() if s.meta.uid == uid)
            return secrets or tuple(
                i.ref for i in view.ingresses.values() if self.value.id in i.meta.annotations.get(IDS, "")
            )
        if isinstance(self.value, Ingress | Service | Secret):
            return (self.value.ref,)
        service = view.services.get(self.key)
        return (service.ref,) if service else ()


class Isolated(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """The result for all other objects."""

    value: T
    skipped: tuple[SkippedObject, ...] = ()


def skipped_problem(ref: ObjectRef, error: str) -> Problem:
    """Return the problem of an object that cannot be processed."""
    text = f"Certferry cannot process this {ref.kind} and skips it ({error}). What was in effect for it before stays, and other objects are not affected. Change the {ref.kind}, and report this as a defect of Certferry."
    return Problem(object=ref, reason="ObjectSkipped", sentence=text)


def isolated(
    attempt: Callable[[ClusterView, State], T],
    view: ClusterView,
    observed: State,
    before: ClusterView | None = None,
    known: Sequence[SkippedObject] = (),
) -> Isolated[T]:
    """Return the result of `attempt` without the objects over which it raises.

    A skipped object has its version in `before`, the last view that was processed, or is absent. A skipped Secret or
    ELB certificate has no content. `known` objects are skipped at once while they are unchanged. Raises the error of
    `attempt` if no object is at fault.
    """
    skipped = tuple(s for s in known if _field(view, observed, s.field).get(s.key) == s.value)
    search = _Search(attempt, view, observed, before)
    error = search.error(skipped)
    if error is not None:
        left = {(s.field, s.key) for s in skipped}
        suspects = [s for s in _objects(view, observed) if (s.field, s.key) not in left]
        if search.error((*skipped, *suspects)) is not None:
            raise error
        skipped = (*skipped, *search.culprits(suspects, skipped))
        error = search.error(skipped)
        if error is not None:
            raise error
    return Isolated(value=search.value, skipped=skipped)


class _Search(Generic[T]):
    """Attempts with fewer objects. ``value`` is the result of the last one that succeeded."""

    value: T

    def __init__(
        self, attempt: Callable[[ClusterView, State], T], view: ClusterView, observed: State, before: ClusterView | None
    ) -> None:
        self._attempt, self._view, self._observed = attempt, view, observed
        self._before = before or ClusterView(cluster_id=view.cluster_id)

    def error(self, out: Sequence[SkippedObject]) -> Exception | None:
        """Return the error of an attempt without `out`; None if it succeeds."""
        view, observed = self._view, self._observed
        for field in {s.field for s in out}:
            some = {s.key: s.value for s in out if s.field == field}
            if field == "certificates":
                unread = {ref: replace(certificate, chain=None) for ref, certificate in some.items()}
                observed = replace(observed, certificates={**observed.certificates, **unread})
                view = _without_sources(view, some.values())
            else:
                kept = {k: v for k, v in _field(view, observed, field).items() if k not in some}
                view = replace(view, **{field: MappingProxyType(kept | self._substitutes(field, some))})
        try:
            self.value = self._attempt(view, observed)
        except Exception as error:  # noqa: BLE001 (any defect: the objects at fault are skipped and reported)
            return error
        return None

    def culprits(self, suspects: Sequence[SkippedObject], out: Sequence[SkippedObject]) -> tuple[SkippedObject, ...]:
        """Return the objects of `suspects` at fault, by halves: without `out` and all `suspects` it succeeds."""
        error = self.error(out)
        if error is None:
            return ()
        if len(suspects) == 1:
            return (replace(suspects[0], error=_described(error)),)
        half = len(suspects) // 2
        first = self.culprits(suspects[:half], (*out, *suspects[half:]))
        return (*first, *self.culprits(suspects[half:], (*out, *first)))

    def _substitutes(self, field: str, some: Mapping[Any, Any]) -> dict[Any, Any]:
        if field == "secrets":
            return {key: _without_content(secret) for key, secret in some.items()}
        earlier = getattr(self._before, field)
        return {key: earlier[key] for key, value in some.items() if key in earlier and earlier[key] != value}


def _field(view: ClusterView, observed: State, field: str) -> Mapping[Any, Any]:
    return observed.certificates if field == "certificates" else getattr(view, field)


def _objects(view: ClusterView, observed: State) -> Iterator[SkippedObject]:
    """Yield all objects that may be at fault, the newest last: it is skipped if two cannot stand together."""
    objects = [
        SkippedObject(field=field, key=key, value=value)
        for field in ("certificates", *_FIELDS)
        for key, value in _field(view, observed, field).items()
    ]
    yield from sorted(objects, key=lambda s: s.value.meta.created.isoformat() if hasattr(s.value, "meta") else "")


def _without_sources(view: ClusterView, certificates: Iterable[Certificate]) -> ClusterView:
    """Return `view` without the content of the Secrets that `certificates` follow: it would be written again."""
    uids = {names.described(c.description).get("secret_id") for c in certificates}
    left = {name: _without_content(s) for name, s in view.secrets.items() if s.meta.uid in uids}
    return replace(view, secrets=MappingProxyType({**view.secrets, **left})) if left else view


def _without_content(secret: Secret) -> Secret:
    return replace(secret, chain=None, flaw=SecretProblem(reason="Skipped", sentence="It cannot be processed."))


def _described(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {frames[-1].name}"
