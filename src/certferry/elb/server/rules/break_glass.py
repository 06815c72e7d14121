"""Break-glass on a stored certificate: where it stands in a row, and what it lets through.

``locks`` and the API's handlers call it. The emergency is in the row's ``data``, so that it is one
write with all else; it ends by itself when its time has come.
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
    """The emergency that is open on `row`."""
    stored = row.data.get("break_glass")
    found = None if stored is None else msgspec.convert(stored, BreakGlass)
    return found if found is not None and now < found.until else None


def opened(row: Row, found: BreakGlass) -> dict[str, Any]:
    """The data of `row` with this emergency."""
    return {**row.data, "break_glass": msgspec.to_builtins(found)}


def closed(row: Row) -> dict[str, Any]:
    """The data of `row` without one."""
    return {**row.data, "break_glass": None}


def shown(row: Row, now: datetime) -> dict[str, Any] | None:
    """As answers show it."""
    found = of(row, now)
    if found is None:
        return None
    return {
        "reason": found.reason,
        "until": _instant(found.until),
        "user": found.user,
        "since": _instant(found.since) if found.since else None,
        "digest": found.digest,
    }


def check_owners(row: Row, chain: Chain, now: datetime) -> None:
    """Raises ``Refused`` (409) when the owner's `chain` has to wait, or is worse than what is in place."""
    found = of(row, now)
    if found is None or row.content is None or row.content.chain.digest == chain.digest:
        return
    if chain.digest == found.digest:
        raise _open(row, found, "what was there before comes back at its end")
    finding = checks.objection(chain, row.content.chain, domain_names(row.data["domain"]), now)
    if finding is not None:
        raise _open(row, found, f"the new certificate is worse: {finding.sentence}")


def after_owners(data: Mapping[str, Any], chain: Chain) -> dict[str, Any]:
    """What changes in `data` when the owner's newer `chain` is taken: a used emergency is over."""
    if data.get("break_glass") is None or data.get("emergency"):
        return {"break_glass": None, "emergency": False}
    return {"break_glass": {**data["break_glass"], "digest": chain.digest}}


def _open(row: Row, found: BreakGlass, why: str) -> ApiError:
    name = row.data["name"] or row.id
    return ApiError(
        409, "BreakGlassActive", f"Certificate {name}: {emergency.break_glass_text(found)}; {why}"
    )


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
