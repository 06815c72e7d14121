"""The certificate policy: a setting that changes the severity of findings, within the invariant.

A key is a reason or a severity, and the reason takes precedence: ``{warn: off, KeyReused: refuse}`` refuses reused keys
and hides other warnings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from certferry.core.checks.check import Finding, Severity
from certferry.core.model.kubernetes import OPAQUE, Secret
from certferry.core.model.problems import Reason

Action = Literal["refuse", "warn", "info", "off"]


class CheckPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Actions for findings; without an entry a finding keeps its own severity."""

    actions: Mapping[Reason | Severity, Action] = {}
    skew: float = 300.0
    """Seconds by which the clocks of clients may be off."""
    opaque_secrets: bool = True
    """True if an Opaque Secret with a pair counts as a TLS Secret."""

    def usable_type(self, secret: Secret) -> bool:
        """Return whether a Secret of this type is used."""
        return self.opaque_secrets or secret.type != OPAQUE

    def applied(self, finding: Finding) -> Finding | None:
        """Return `finding` with the severity of this policy, or None if it is switched off."""
        action = self.actions.get(finding.reason) or self.actions.get(finding.severity) or finding.severity
        if action == "off":
            return None
        return finding if action == finding.severity else msgspec.structs.replace(finding, severity=action)


DEFAULT: Final = CheckPolicy()
