"""Alerts as values: one per certificate, and not one per Ingress. Each name has a page in docs/runbooks."""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

AlertName = Literal[
    "CertificateCompromised",
    "CertificateDefective",
    "CertificateExpired",
    "CertificateNotServed",
    "CertificateNotUsed",
    "CertificateQuarantined",
    "CertificateRejected",
    "CertificateUnreachable",
    "Disconnected",
    "LoadBalancerDrift",
    "LoadBalancerRejected",
    "RenewalCritical",
    "RenewalLate",
    "RenewalUrgent",
    "RotationStalled",
    "SecretUnreadable",
    "Test",
]
NAMES: Final[tuple[str, ...]] = get_args(AlertName)

Urgency = Literal["critical", "warning"]

URGENCIES: Final[dict[AlertName, Urgency]] = {
    "CertificateCompromised": "critical",
    "CertificateDefective": "warning",
    "CertificateExpired": "critical",
    "CertificateNotServed": "critical",
    "CertificateNotUsed": "warning",
    "CertificateQuarantined": "critical",
    "CertificateRejected": "critical",
    "CertificateUnreachable": "warning",
    "Disconnected": "warning",
    "LoadBalancerDrift": "warning",
    "LoadBalancerRejected": "critical",
    "RenewalCritical": "critical",
    "RenewalLate": "warning",
    "RenewalUrgent": "critical",
    "RotationStalled": "critical",
    "SecretUnreadable": "critical",
    "Test": "warning",
}


HOURLY: Final[frozenset[AlertName]] = frozenset({"CertificateCompromised"})
"""Alerts that are posted again each hour, whatever the setting."""


class Alert(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One alert about a certificate, a listener or the whole system."""

    name: AlertName
    subject: str
    """The object of the alert. Name and subject identify an alert."""
    summary: str
    cluster: str = ""
    hosts: tuple[str, ...] = ()
    owner: str = ""
    """Who is to act: the namespace, or the user on the ELB."""
    source: str = ""
    """Where its content comes from."""
    why: str = ""
    """Why it is not newer, or not served."""
    command: str = ""
    """The next command."""

    @property
    def urgency(self) -> Urgency:
        """critical: clients see it now or soon. warning: within working hours."""
        return URGENCIES[self.name]

    @property
    def told(self) -> str:
        """All of it in sentences: what, why, and what to type next."""
        why = f"{self.why[:1].upper()}{self.why[1:].rstrip('.')}." if self.why else ""
        command = f"Next: `{self.command}`." if self.command else ""
        return " ".join(part for part in (self.summary, why, command) if part)

    @property
    def identity(self) -> tuple[str, str, str]:
        """Equal for the same alert at two times, whatever its text."""
        return self.cluster, self.name, self.subject


def runbook(name: str) -> str:
    """Return the runbook page of an alert, below the documentation's root."""
    return f"runbooks/{name}.md"
