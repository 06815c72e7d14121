"""The access list of a listener: as rules, and for HTTP as a filter configuration of its route table.

In the route table, because there a change of the list closes no connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from certferry.core.envoy.resource import TYPE
from certferry.core.envoy.routes.cidr import ranges
from certferry.core.model.elb import IpGroupBinding

FILTER: Final = "envoy.filters.http.rbac"


class Rules(NamedTuple):
    """The clients to admit, or (`deny`) to reject, by network."""

    deny: bool
    networks: tuple[dict[str, Any], ...]

    def rbac(self) -> dict[str, Any]:
        """Return the rules of Envoy's RBAC filters."""
        principals = [{"direct_remote_ip": network} for network in self.networks]
        policy = {"listed": {"permissions": [{"any": True}], "principals": principals}} if principals else {}
        return {"action": "DENY" if self.deny else "ALLOW", "policies": policy}


def rules(binding: IpGroupBinding | None, groups: Mapping[str, tuple[str, ...]]) -> Rules | None:
    """Return the rules of a listener; None admits all clients. An empty white list admits none."""
    if binding is None or not binding.enable_ipgroup:
        return None
    ids = [part.strip() for part in binding.ipgroup_id.split(",")]
    networks = tuple(ranges(text for group in ids for text in groups.get(group, ())))
    return Rules(binding.type == "black", networks) if networks or binding.type != "black" else None


def access(binding: IpGroupBinding | None, groups: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return the per-table filter configuration; {} admits all clients."""
    wanted = rules(binding, groups)
    if wanted is None:
        return {}
    kind = f"{TYPE}envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
    return {FILTER: {"@type": kind, "rbac": {"rules": wanted.rbac()}}}
