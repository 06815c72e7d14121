"""Problems as values: an object, a reason from one closed list, a sentence.

Each reason has a heading in docs/problems.md.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from certferry.core.model.kubernetes import Name, ObjectRef

Reason = Literal[
    "AccessListNotFound",
    "AnnotationInvalid",
    "AnnotationUnknown",
    "BackendNotFound",
    "CertificateCompromised",
    "CertificateExpired",
    "CertificateHeldBack",
    "CertificateNotFound",
    "CertificateNotYetValid",
    "CertificateQuarantined",
    "CertificateUnusable",
    "ChainBroken",
    "ChainExpired",
    "ChainIncomplete",
    "ChainOutOfOrder",
    "ClientAuthRemoved",
    "ClockSkew",
    "CriticalExtensionUnknown",
    "DriftDetected",
    "BreakGlassKept",
    "BreakGlassActive",
    "HostClaimConflict",
    "PathConflict",
    "HostNotAllowed",
    "HostNotCovered",
    "KeyReused",
    "KeyTypeChanged",
    "KeyTypeUncommon",
    "LifetimeTooLong",
    "LimitExceeded",
    "ListenerConflict",
    "LoadBalancerNotFound",
    "SniConflict",
    "RollbackPauseActive",
    "NamesRemoved",
    "NamesUnused",
    "SubjectAltNameMissing",
    "NamespaceNotAllowed",
    "NoCertificate",
    "ObjectSkipped",
    "ServerAuthMissing",
    "SecretNotFound",
    "WeakSignature",
    "WildcardMismatch",
]

REASONS: tuple[str, ...] = get_args(Reason)

HOURLY: frozenset[Reason] = frozenset(
    {"BreakGlassKept", "BreakGlassActive", "CertificateCompromised", "RollbackPauseActive"}
)
"""Reasons that are reported again each hour while they last."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One problem of one object, for an Event."""

    object: ObjectRef
    reason: Reason
    sentence: str
    secret: Name | None = None
    """The Secret that has to change, if the object is an Ingress that uses it."""
