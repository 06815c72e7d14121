"""What is wrong with a stored certificate, as answers show it. The checks are the core's."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from certferry.core import checks
from certferry.core.model import domain_names
from certferry.elb.store.world import Row


def found(row: Row, now: datetime) -> list[dict[str, Any]]:
    """Reason, severity and sentence of each finding, the gravest first."""
    if row.content is None or row.data["type"] != "server":
        return []
    hosts = domain_names(row.data["domain"])
    return [
        {"reason": f.reason, "severity": f.severity, "sentence": f.sentence}
        for f in checks.findings(row.content.chain, None, hosts, now)
    ]
