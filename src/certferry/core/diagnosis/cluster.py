"""The diagnosis of one cluster: the cluster and its ELB at one moment, with all that follows from them.

It is immutable, and part of each generation. Every surface that reports on hosts or certificates projects one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec.structs import replace

from certferry.core.diagnosis.host_state import CertificateSource, HostProbe, HostState, host_states
from certferry.core.diagnosis.isolation import SkippedObject, isolated, skipped_problem
from certferry.core.diagnosis.retained import retained
from certferry.core.diagnosis.wanted import CertificateSources
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import Translation, translate
from certferry.core.x509.expiry import Limits

_NO_REJECTIONS: Final[Mapping[str, str]] = MappingProxyType({})


class ClusterDiagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster and an ELB at one moment, what is desired there, and the state of each host."""

    view: ClusterView
    """The cluster without the objects in `skipped`."""
    observed: State
    """The ELB; certificates in `skipped` have no content."""
    translation: Translation
    states: tuple[HostState, ...]
    sources: Mapping[str, CertificateSource]
    """The source of each ELB certificate's content, by id."""
    skipped: tuple[SkippedObject, ...] = ()
    """The objects that cannot be processed."""


class Isolation(msgspec.Struct, frozen=True, kw_only=True):
    """The context in which objects at fault are skipped."""

    before: ClusterView | None = None
    """The view of the last diagnosis: a skipped object has its version there."""
    known: tuple[SkippedObject, ...] = ()
    """The objects that the last diagnosis skipped."""
    check: Callable[[ClusterDiagnosis], object] | None = None
    """What is derived from a diagnosis later. An object over which it raises is skipped too."""


_ALONE: Final = Isolation()


def diagnose(
    view: ClusterView | None,
    observed: State,
    options: TranslateOptions,
    now: datetime,
    limits: Limits,
    shown: Iterable[HostProbe] = (),
    rejections: Mapping[str, str] = _NO_REJECTIONS,
    isolation: Isolation = _ALONE,
) -> ClusterDiagnosis:
    """Derive a diagnosis. `view`: None if the cluster does not answer; then the ELB alone is described."""
    shown = tuple(shown)
    given = view or ClusterView(cluster_id="")

    def derive(view: ClusterView, observed: State) -> ClusterDiagnosis:
        translation = translate(view, observed, options, now)
        if missing := _missing_ingresses(given, view):
            translation = retained(translation, observed, missing)
        sources = CertificateSources(view)
        diagnosis = ClusterDiagnosis(
            view=view,
            observed=observed,
            translation=translation,
            states=host_states(view, observed, translation, shown, now, limits, rejections),
            sources={ref: sources.of(certificate) for ref, certificate in observed.certificates.items()},
        )
        if isolation.check:
            isolation.check(diagnosis)
        return diagnosis

    result = isolated(derive, given, observed, isolation.before, isolation.known)
    if not result.skipped and not given.malformed:
        return result.value
    problems = [skipped_problem(ref, error) for ref, error in given.malformed.items()]
    problems += [skipped_problem(ref, s.error) for s in result.skipped for ref in s.refs(given)]
    translation = result.value.translation
    translation = replace(translation, problems=tuple(sorted({*translation.problems, *problems})))
    return replace(result.value, translation=translation, skipped=result.skipped)


def _missing_ingresses(given: ClusterView, processed: ClusterView) -> frozenset[str]:
    """Return the uids of Ingresses of which no version is processed: what exists for them has to stay."""
    uids = {i.meta.uid for name, i in given.ingresses.items() if name not in processed.ingresses}
    names = {r: Name(r.namespace, r.name) for r in given.malformed if r.kind == "Ingress"}
    return frozenset(uids | {ref.uid for ref, name in names.items() if name not in processed.ingresses})
