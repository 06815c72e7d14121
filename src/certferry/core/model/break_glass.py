"""Break-glass: the Secret's content waits while an admin's emergency certificate is in place.

Only the content that was in place when the emergency began waits for its end. The invariant (``checks.objection``)
decides on newer content, as on every other change.
"""

from __future__ import annotations

from datetime import datetime

from certferry.core.model.elb import BreakGlass, Certificate
from certferry.core.model.problems import Reason
from certferry.core.x509.pem import Chain


def waiting_for(have: Certificate | None, chain: Chain, now: datetime) -> BreakGlass | None:
    """Return the emergency that `chain` must wait for, or None if it need not wait."""
    emergency = have.break_glass if have else None
    if have is None or emergency is None or now >= emergency.until:
        return None
    if have.chain is not None and have.chain.digest == chain.digest:
        return None
    return emergency if emergency.digest == chain.digest else None


def waiting_reason(emergency: BreakGlass) -> Reason:
    """Return the reason of the problem that the owner's content waits."""
    return "RollbackPauseActive" if emergency.kind == "rollback-pause" else "BreakGlassActive"


def break_glass_text(emergency: BreakGlass) -> str:
    """Return what the owner's content waits for, with end, user and reason, for use in a sentence."""
    by = f" by {emergency.user}" if emergency.user else ""
    until = f"until {emergency.until:%Y-%m-%d %H:%M} UTC{by} ({emergency.reason})"
    if emergency.kind == "rollback-pause":
        return f"a rollback pauses sync {until}"
    return f"break-glass is open {until}"
