"""The address that a request comes from, behind proxies. Only a trusted proxy's X-Forwarded-For counts."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the last address that is not a trusted proxy's.

    `forwarded`: the X-Forwarded-For headers. An entry that is no address ends the search, and the proxy that sent
    it counts.
    """
    client = peer
    for entry in reversed([part.strip() for header in forwarded for part in header.split(",")]):
        if not _is_within(client, trusted) or not _is_address(entry):
            break
        client = entry
    return client


def _is_within(address: str, trusted: Sequence[Network]) -> bool:
    return _is_address(address) and any(ipaddress.ip_address(address) in network for network in trusted)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
