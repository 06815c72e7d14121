"""Settings of version 0.1 that have another name now; the loader rejects the old name and gives the new one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

RENAMED: Final[Mapping[str, Mapping[str, str]]] = {
    "controller": {
        "hold_off": "debounce",
        "ceiling": "debounce_max",
        "garbage_wait": "deletion_delay",
        "patrol": "probe_interval",
        "max_sni": "max_sni_certificates",
    },
    "alerts": {
        "late": "renewal_late",
        "urgent": "renewal_urgent",
        "emergency": "renewal_critical",
        "late_days": "renewal_late_days",
        "urgent_days": "renewal_urgent_days",
        "emergency_days": "renewal_critical_days",
        "stall_due": "stalled_rotations",
        "stall_patience": "stalled_after",
        "webhook_form": "webhook_format",
        "repeat": "repeat_interval",
        "runbooks": "runbook_url",
    },
    "elb": {},
    "up": {"patience": "ready_timeout"},
    "console": {"served_patience": "served_timeout"},
}

RENAMED_ENVOY_OPTIONS: Final[Mapping[str, str]] = {"at_end": "on_exit", "end_seconds": "exit_timeout"}
RENAMED_ON_EXIT: Final[Mapping[str, str]] = {"end": "stop", "leave": "keep"}
"""Values of ``elb.envoy_options.on_exit``."""

RENAMED_REASONS: Final[Mapping[str, str]] = {
    "CertificateHeld": "CertificateHeldBack",
    "CertificateParked": "CertificateQuarantined",
    "CertificateRefused": "CertificateRejected",
    "ChainOrder": "ChainOutOfOrder",
    "DriftFound": "DriftDetected",
    "EmergencyKept": "BreakGlassKept",
    "EmergencyOpen": "BreakGlassActive",
    "HostClaimedTwice": "HostClaimConflict",
    "HostConflict": "PathConflict",
    "KeyUncommon": "KeyTypeUncommon",
    "ListenerHandedOver": "ListenerOwnerChanged",
    "LoadBalancerRefused": "LoadBalancerRejected",
    "NameTaken": "SniConflict",
    "NamesLost": "NamesRemoved",
    "NamesMissing": "SubjectAltNameMissing",
    "NotForServers": "ServerAuthMissing",
    "RenewalEmergency": "RenewalCritical",
    "SecretNotRead": "SecretUnreadable",
    "SignatureWeak": "WeakSignature",
    "WildcardDepth": "WildcardMismatch",
}
"""Reasons of Events and alerts, and keys of ``controller.checks``."""


def new_name(program: str, setting: str) -> str | None:
    """Return the present name of a setting of version 0.1, None if it was not renamed."""
    return RENAMED.get(program, {}).get(setting)
