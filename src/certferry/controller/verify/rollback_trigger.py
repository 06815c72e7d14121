"""The decision that a new certificate does not work for clients.

A probe counts if it reached the listener and saw a failed handshake, or a certificate that is neither the old nor the
new one. A closed port and the old certificate do not count, nor does the new leaf with another chain, which is reported.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from certferry.runtime.tls_probe import HandshakeFailed, ProbeResult, Served, Target, WrongCertificate

FAILURE_THRESHOLD: Final = 3
MIN_FAILURE_SPAN: Final = 20
"""Counted looks at one place are at least this part of the patience apart: one hiccup is not three looks."""


class RollbackTrigger:
    """Counts for one rotation. `patience`: seconds within which it is to be refused; 0 is never."""

    def __init__(self, before: Mapping[Target, str], rollback_within: float) -> None:
        self._before = before
        self._rollback_within = rollback_within
        self._counted: dict[Target, tuple[int, float]] = {}
        self._said = False

    def observe(self, target: Target, result: ProbeResult) -> bool:
        """Count a probe result; return True for the one that triggers the rollback."""
        if not self._rollback_within or target not in self._before or self._said:
            return False
        if isinstance(result, Served):
            self._counted.pop(target, None)
            return False
        against = isinstance(result, HandshakeFailed) or (
            isinstance(result, WrongCertificate) and result.fingerprint != self._before[target]
        )
        count, at = self._counted.get(target, (0, 0.0))
        now = time.monotonic()
        if not against or now - at < self._rollback_within / MIN_FAILURE_SPAN:
            return False
        self._counted[target] = (count + 1, now)
        self._said = count + 1 >= FAILURE_THRESHOLD
        return self._said
