"""The diagnosis of one cluster: the cluster and its ELB at one moment, with all that follows from them.

It is immutable. Every surface that reports on hosts or certificates projects one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from certferry.core.diagnosis.host_state import CertificateSource, HostProbe, HostState, host_states
from certferry.core.diagnosis.isolation import SkippedObject, isolated, skipped_problem
from certferry.core.diagnosis.retained import retained
from certferry.core.diagnosis.wanted import CertificateSources
from certferry.core.memo import Memo
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import Translation, translate
from certferry.core.x509.expiry import Limits

_NO_REJECTIONS: Final[Mapping[str, str]] = MappingProxyType({})


class TranslatedCluster(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster and an ELB at one moment, and what is desired there."""

    view: ClusterView
    """The cluster without the objects in `skipped`."""
    observed: State
    """The ELB; certificates in `skipped` have no content."""
    translation: Translation
    skipped: tuple[SkippedObject, ...] = ()
    """The objects that cannot be processed."""


class ClusterDiagnosis(TranslatedCluster, frozen=True, kw_only=True):
    """A translated cluster with the state of each host."""

    states: tuple[HostState, ...]
    sources: Mapping[str, CertificateSource]
    """The source of each ELB certificate's content, by id."""


C = TypeVar("C", bound=TranslatedCluster)


class Isolation(msgspec.Struct, frozen=True, kw_only=True):
    """The view and the skipped objects of the last translation of a cluster."""

    before: ClusterView | None = None
    """A skipped object has its version there."""
    known: tuple[SkippedObject, ...] = ()


_ALONE: Final = Isolation()


def translate_cluster(
    view: ClusterView,
    observed: State,
    options: TranslateOptions,
    now: datetime,
    isolation: Isolation = _ALONE,
    check: Callable[[TranslatedCluster], object] = lambda cluster: cluster,
    memo: Memo | None = None,
) -> TranslatedCluster:
    """Translate a cluster. An object over which the translation or `check` raises is skipped. `memo`: see ``translate``."""

    def derive(cluster: TranslatedCluster) -> TranslatedCluster:
        check(cluster)
        return cluster

    return _isolated(derive, view, observed, options, now, isolation, memo)


def with_host_states(
    cluster: TranslatedCluster,
    now: datetime,
    limits: Limits,
    shown: Iterable[HostProbe] = (),
    rejections: Mapping[str, str] = _NO_REJECTIONS,
) -> ClusterDiagnosis:
    """Derive the state of each host. `shown`, `rejections`: see ``host_states``."""
    view, observed, translation = cluster.view, cluster.observed, cluster.translation
    sources = CertificateSources(view)
    return ClusterDiagnosis(
        view=view,
        observed=observed,
        translation=translation,
        skipped=cluster.skipped,
        states=host_states(view, observed, translation, shown, now, limits, rejections),
        sources={ref: sources.of(certificate) for ref, certificate in observed.certificates.items()},
    )


def diagnose(
    view: ClusterView | None,
    observed: State,
    options: TranslateOptions,
    now: datetime,
    limits: Limits,
    shown: Iterable[HostProbe] = (),
    check: Callable[[ClusterDiagnosis], object] = lambda diagnosis: diagnosis,
) -> ClusterDiagnosis:
    """Translate a cluster and derive its host states. An object over which this or `check` raises is skipped.

    `view`: None if the cluster does not answer; then the ELB alone is described.
    """
    shown = tuple(shown)

    def derive(cluster: TranslatedCluster) -> ClusterDiagnosis:
        diagnosis = with_host_states(cluster, now, limits, shown)
        check(diagnosis)
        return diagnosis

    return _isolated(derive, view or ClusterView(cluster_id=""), observed, options, now, _ALONE)


def _isolated(
    derive: Callable[[TranslatedCluster], C],
    given: ClusterView,
    observed: State,
    options: TranslateOptions,
    now: datetime,
    isolation: Isolation,
    memo: Memo | None = None,
) -> C:
    def attempt(view: ClusterView, observed: State) -> C:
        translation = translate(view, observed, options, now, memo)
        if missing := _missing_claimants(given, view):
            translation = retained(translation, observed, missing)
        return derive(TranslatedCluster(view=view, observed=observed, translation=translation))

    result = isolated(attempt, given, observed, isolation.before, isolation.known)
    if not result.skipped and not given.malformed:
        return result.value
    problems = [skipped_problem(ref, error) for ref, error in given.malformed.items()]
    problems += [skipped_problem(ref, s.error) for s in result.skipped for ref in s.refs(given)]
    translation = result.value.translation
    translation = replace(translation, problems=tuple(sorted({*translation.problems, *problems})))
    return replace(result.value, translation=translation, skipped=result.skipped)


def _missing_claimants(given: ClusterView, processed: ClusterView) -> frozenset[str]:
    """Return the uids of Ingresses and Services of which no version is processed: what exists for them has to stay."""
    pairs = ((given.ingresses, processed.ingresses), (given.services, processed.services))
    uids = {one.meta.uid for some, there in pairs for name, one in some.items() if name not in there}
    there_by_kind = {"Ingress": processed.ingresses, "Service": processed.services}
    malformed = (
        r for r in given.malformed if Name(r.namespace, r.name) not in there_by_kind.get(r.kind, given.malformed)
    )
    return frozenset(uids | {ref.uid for ref in malformed if ref.kind in there_by_kind})
