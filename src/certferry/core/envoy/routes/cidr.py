"""Addresses, networks and ranges as Envoy's matchers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any


def ranges(texts: Iterable[str]) -> list[dict[str, Any]]:
    """Return CidrRanges of addresses, networks and ``a-b`` ranges, sorted; invalid texts match no client."""
    found = sorted({network for text in texts for network in _networks(text)})
    return [{"address_prefix": address, "prefix_len": length} for address, length in found]


def _networks(text: str) -> list[tuple[str, int]]:
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
