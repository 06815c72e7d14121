"""Settings for all load balancers of an ELB, which follow Envoy's guide for edge proxies.

Source: Envoy's documentation, "Configuring Envoy as an edge proxy".
"""

from __future__ import annotations

from typing import Final

import msgspec

ESCAPED_SLASHES: Final = {
    "redirect": "UNESCAPE_AND_REDIRECT",
    "reject": "REJECT_REQUEST",
    "unescape": "UNESCAPE_AND_FORWARD",
    "keep": "KEEP_UNCHANGED",
}
UNDERSCORES: Final = {"reject": "REJECT_REQUEST", "drop": "DROP_HEADER", "keep": "ALLOW"}
BUFFER: Final = 32 << 10
"""Bytes that Envoy holds for one connection of a client or to a member."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Settings for all load balancers of an ELB."""

    default_tls_policy: str = "tls-1-2"
    """For an HTTPS listener without a TLS policy."""
    access_log: bool = False
    """Write an access log in Envoy's working directory."""
    max_connections: int = 100_000
    """Connections to the members of one pool."""
    max_connections_per_host: int = 0
    """Connections of clients to one host name of a listener, or to a plain HTTP listener; 0: no limit of its own."""
    escaped_slashes: str = "redirect"
    """A key of `ESCAPED_SLASHES`: what is done with a path that has ``%2F`` or ``%5C``."""
    merge_slashes: bool = True
    underscores: str = "reject"
    """A key of `UNDERSCORES`: what is done with header names that have an underscore."""
    request_timeout: float = 0
    """Seconds for a whole request; 0: no limit."""
    trusted_client_headers: tuple[str, ...] = ()
    """Headers that clients may set although they usually come from a proxy."""
