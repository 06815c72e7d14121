"""When three looks say that a new certificate does not work for clients.

A look counts that reached the listener and saw a failed handshake, or a certificate that is neither
the old nor the new one. Nobody there, or still the old one, says nothing against the new one; nor does
the new one with another chain, which is told and not taken back.
``proof`` asks it for each rotation.
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

    def __init__(self, before: Mapping[Target, str], patience: float) -> None:
        self._before = before
        self._patience = patience
        self._counted: dict[Target, tuple[int, float]] = {}
        self._said = False

    def observe(self, target: Target, sight: ProbeResult) -> bool:
        """Whether this look is the one that decides; true once at most."""
        if not self._patience or target not in self._before or self._said:
            return False
        if isinstance(sight, Served):
            self._counted.pop(target, None)
            return False
        against = isinstance(sight, HandshakeFailed) or (
            isinstance(sight, WrongCertificate) and sight.fingerprint != self._before[target]
        )
        count, at = self._counted.get(target, (0, 0.0))
        now = time.monotonic()
        if not against or now - at < self._patience / MIN_FAILURE_SPAN:
            return False
        self._counted[target] = (count + 1, now)
        self._said = count + 1 >= FAILURE_THRESHOLD
        return self._said
