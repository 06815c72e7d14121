"""Break-glass: what of a Secret waits while an admin's emergency certificate is in place.

``certificates`` and the controller's fast path ask before they write a content; the ELB asks before
it takes one. Only the content that was there when the emergency began waits for its end: anything
newer is judged by the invariant (``checks.objection``), like every other change.
"""

from __future__ import annotations

from datetime import datetime

from certferry.core.model.elb import BreakGlass, Certificate
from certferry.core.x509.pem import Chain


def waiting_for(have: Certificate | None, chain: Chain, now: datetime) -> BreakGlass | None:
    """The emergency for whose end `chain` has to wait, or None where it may be judged now."""
    emergency = have.break_glass if have else None
    if have is None or emergency is None or now >= emergency.until:
        return None
    if have.chain is not None and have.chain.digest == chain.digest:
        return None
    return emergency if emergency.digest == chain.digest else None


def break_glass_text(emergency: BreakGlass) -> str:
    """The emergency for a sentence: until when, whose and why."""
    by = f" by {emergency.user}" if emergency.user else ""
    return f"break-glass is open until {emergency.until:%Y-%m-%d %H:%M} UTC{by} ({emergency.reason})"
