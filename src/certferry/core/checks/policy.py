"""How severe each finding is to count: a setting, beneath the invariant.

The settings of the controller hold one; ``findings`` applies it. A key is a reason or a severity; the
reason wins: ``{warn: off, KeyReused: refuse}`` refuses reused keys and keeps quiet of other warnings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from certferry.core.checks.check import Finding, Severity
from certferry.core.model.problems import Reason

Action = Literal["refuse", "warn", "info", "off"]


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What to do with findings; without entries each check's own severity stands."""

    actions: Mapping[Reason | Severity, Action] = {}
    skew: float = 300.0
    """Seconds by which the clocks of clients may be off."""

    def applied(self, finding: Finding) -> Finding | None:
        """`finding` as this policy sees it, or None when it is switched off."""
        action = self.actions.get(finding.reason) or self.actions.get(finding.severity) or finding.severity
        if action == "off":
            return None
        return finding if action == finding.severity else msgspec.structs.replace(finding, severity=action)


DEFAULT: Final = Policy()
