"""The system security policies as the API shows them: see ``core.envoy.tls``."""

from __future__ import annotations

from typing import Final

from certferry.core.envoy.tls import POLICIES, Served

TLS_POLICIES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    name: (policy.protocols, policy.ciphers) for name, policy in POLICIES.items()
}
"""Name → (protocols, ciphers by their OpenSSL names)."""


def served_object(served: Served) -> dict[str, list[str]]:
    """The ``certferry`` object of a policy: what is really negotiated, and what of it is missing."""
    return {
        "protocols": list(served.protocols),
        "ciphers": list(served.ciphers),
        "missing_protocols": list(served.missing_protocols),
        "missing_ciphers": list(served.missing_ciphers),
    }
