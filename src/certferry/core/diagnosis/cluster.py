"""The diagnosis of one cluster: the cluster and its ELB at one moment, with all that follows from them.

It is immutable, and part of each generation. Every surface that reports on hosts or certificates projects one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec

from certferry.core.diagnosis.host_state import CertificateSource, HostProbe, HostState, host_states
from certferry.core.diagnosis.wanted import CertificateSources
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import ClusterView
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import Translation, translate
from certferry.core.x509.expiry import Limits

_NO_REJECTIONS: Final[Mapping[str, str]] = MappingProxyType({})


class ClusterDiagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster and an ELB at one moment, what is desired there, and the state of each host."""

    view: ClusterView
    observed: State
    translation: Translation
    states: tuple[HostState, ...]
    sources: Mapping[str, CertificateSource]
    """The source of each ELB certificate's content, by id."""


def diagnose(
    view: ClusterView | None,
    observed: State,
    options: TranslateOptions,
    now: datetime,
    limits: Limits,
    shown: Iterable[HostProbe] = (),
    rejections: Mapping[str, str] = _NO_REJECTIONS,
) -> ClusterDiagnosis:
    """Derive a diagnosis. `view`: None if the cluster does not answer; then the ELB alone is described."""
    view = view or ClusterView(cluster_id="")
    translation = translate(view, observed, options, now)
    return complete(view, observed, translation, now, limits, shown, rejections)


def complete(
    view: ClusterView,
    observed: State,
    translation: Translation,
    now: datetime,
    limits: Limits,
    shown: Iterable[HostProbe] = (),
    rejections: Mapping[str, str] = _NO_REJECTIONS,
) -> ClusterDiagnosis:
    """Complete a translation of `view` and `observed` to a diagnosis."""
    sources = CertificateSources(view)
    return ClusterDiagnosis(
        view=view,
        observed=observed,
        translation=translation,
        states=host_states(view, observed, translation, shown, now, limits, rejections),
        sources={ref: sources.of(certificate) for ref, certificate in observed.certificates.items()},
    )
