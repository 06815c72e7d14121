"""TLS policies as the API shows and takes them: see ``core.envoy.tls``."""

from __future__ import annotations

from typing import Final

from certferry.core.envoy.listeners.tls import POLICIES, SUITES, Served

TLS_POLICIES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    name: (policy.protocols, policy.ciphers) for name, policy in POLICIES.items()
}
"""Name → (protocols, ciphers by their OpenSSL names)."""
CUSTOM_CIPHERS: Final = (
    *SUITES,
    "CAMELLIA128-SHA",
    "DES-CBC3-SHA",
    "CAMELLIA256-SHA",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
)
"""What a custom policy may list: the vendor's 28."""
TLS_13: Final = frozenset(cipher for cipher in SUITES if cipher.startswith("TLS_"))
"""The suites of TLS 1.3; all others are for the versions before it."""


def served_object(served: Served) -> dict[str, list[str]]:
    """The ``certferry`` object of a policy: what is really negotiated, and what of it is missing."""
    return {
        "protocols": list(served.protocols),
        "ciphers": list(served.ciphers),
        "missing_protocols": list(served.missing_protocols),
        "missing_ciphers": list(served.missing_ciphers),
    }
