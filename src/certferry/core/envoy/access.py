"""Who may send requests: the access list of a listener, kept in its route table. Called by ``routes``.

In the route table, because there a change of the list closes no connection.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

from certferry.core.envoy.message import TYPE
from certferry.core.model import IpGroupBinding

FILTER: Final = "envoy.filters.http.rbac"


def access(binding: IpGroupBinding | None, groups: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """The per-table filter configuration; {} if everybody may. An empty white list admits nobody."""
    if binding is None or not binding.enable_ipgroup:
        return {}
    ids = [part.strip() for part in binding.ipgroup_id.split(",")]
    ranges = sorted({r for group in ids for text in groups.get(group, ()) for r in _ranges(text)})
    principals = [{"direct_remote_ip": {"address_prefix": a, "prefix_len": n}} for a, n in ranges]
    if binding.type == "black" and not principals:
        return {}
    policy = {"listed": {"permissions": [{"any": True}], "principals": principals}} if principals else {}
    rules = {"action": "DENY" if binding.type == "black" else "ALLOW", "policies": policy}
    kind = f"{TYPE}envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
    return {FILTER: {"@type": kind, "rbac": {"rules": rules}}}


def _ranges(text: str) -> list[tuple[str, int]]:
    """An address, a network, or ``a-b``, as networks; what is none of them is nobody."""
    first, _, last = (part.strip() for part in text.partition("-"))
    try:
        if not last:
            network = ipaddress.ip_network(first, strict=False)
            return [(str(network.network_address), network.prefixlen)]
        ends = (ipaddress.ip_address(first), ipaddress.ip_address(last))
        networks = ipaddress.summarize_address_range(*ends)
        return [(str(n.network_address), n.prefixlen) for n in networks]
    except (ValueError, TypeError):
        return []
