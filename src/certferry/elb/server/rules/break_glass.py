"""Break-glass on a stored certificate: its place in a row, and what it permits.

It is part of the row's ``data``, so that it is written together with other fields. It ends by itself at its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from certferry.core import checks
from certferry.core.model import break_glass as emergency
from certferry.core.model.elb import BreakGlass, domain_names
from certferry.core.x509.pem import Chain
from certferry.elb.server.errors import ApiError
from certferry.elb.server.store.tables import Row


def of(row: Row, now: datetime) -> BreakGlass | None:
    """Return the open break-glass on `row`; None if there is none."""
    stored = row.data.get("break_glass")
    current = None if stored is None else msgspec.convert(stored, BreakGlass)
    return current if current is not None and now < current.until else None


def opened(row: Row, found: BreakGlass) -> dict[str, Any]:
    """Return the data of `row` with this break-glass."""
    return {**row.data, "break_glass": msgspec.to_builtins(found)}


def closed(row: Row) -> dict[str, Any]:
    """Return the data of `row` without break-glass."""
    return {**row.data, "break_glass": None}


def shown(row: Row, now: datetime) -> dict[str, Any] | None:
    """Render the open break-glass for answers; None if there is none."""
    current = of(row, now)
    if current is None:
        return None
    return {
        "kind": current.kind,
        "reason": current.reason,
        "until": _instant(current.until),
        "user": current.user,
        "since": _instant(current.since) if current.since else None,
        "digest": current.digest,
    }


def check_owners(row: Row, chain: Chain, now: datetime) -> None:
    """Raise ApiError (409) when the owner's `chain` has to wait, or is worse than what is in place."""
    current = of(row, now)
    if current is None or row.content is None or row.content.chain.digest == chain.digest:
        return
    if chain.digest == current.digest:
        raise _open(row, current, "what was there before comes back at its end")
    finding = checks.objection(chain, row.content.chain, domain_names(row.data["domain"]), now)
    if finding is not None:
        raise _open(row, current, f"the new certificate is worse: {finding.sentence}")


def after_owners(data: Mapping[str, Any], chain: Chain) -> dict[str, Any]:
    """Return the fields to change after the owner's newer `chain` is accepted: a used break-glass ends."""
    if data.get("break_glass") is None or data.get("emergency"):
        return {"break_glass": None, "emergency": False}
    return {"break_glass": {**data["break_glass"], "digest": chain.digest}}


def _open(row: Row, current: BreakGlass, why: str) -> ApiError:
    name = row.data["name"] or row.id
    reason = emergency.waiting_reason(current)
    return ApiError(409, reason, f"Certificate {name}: {emergency.break_glass_text(current)}; {why}")


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
