"""The access list of a listener, as a filter configuration of its route table.

In the route table, because there a change of the list closes no connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from certferry.core.envoy.resource import TYPE
from certferry.core.envoy.routes.cidr import ranges
from certferry.core.model.elb import IpGroupBinding

FILTER: Final = "envoy.filters.http.rbac"


def access(binding: IpGroupBinding | None, groups: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return the per-table filter configuration; {} admits all clients. An empty white list admits none."""
    if binding is None or not binding.enable_ipgroup:
        return {}
    ids = [part.strip() for part in binding.ipgroup_id.split(",")]
    listed = ranges(text for group in ids for text in groups.get(group, ()))
    principals = [{"direct_remote_ip": network} for network in listed]
    if binding.type == "black" and not principals:
        return {}
    policy = {"listed": {"permissions": [{"any": True}], "principals": principals}} if principals else {}
    rules = {"action": "DENY" if binding.type == "black" else "ALLOW", "policies": policy}
    kind = f"{TYPE}envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
    return {FILTER: {"@type": kind, "rbac": {"rules": rules}}}
