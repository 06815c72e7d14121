"""TLS policies: the versions and suites of each of the system's, and those that a custom one may have.

Sources: ingress-and-certificates.md 2.8; the vendor's list for custom policies (28 suites).
"""

from __future__ import annotations

from typing import Final

_A: Final = (
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
)
_B: Final = ("AES128-GCM-SHA256", "AES256-GCM-SHA384")
_C: Final = (
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-RSA-AES256-SHA384",
    "ECDHE-ECDSA-AES256-SHA384",
)
_D: Final = ("AES128-SHA256", "AES256-SHA256")
_E: Final = (
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-ECDSA-AES256-SHA",
)
_F: Final = ("AES128-SHA", "AES256-SHA")
_T: Final = (
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
    "TLS_AES_128_CCM_SHA256",
)
_ALL: Final = _A + _B + _C + _D + _E + _F
_10: Final = ("TLSv1", "TLSv1.1", "TLSv1.2")

TLS_POLICIES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "tls-1-0-inherit": (_10, _ALL),
    "tls-1-0": (_10, _ALL),
    "tls-1-1": (_10[1:], _ALL),
    "tls-1-2": (_10[2:], _ALL),
    "tls-1-2-strict": (_10[2:], _A + _B + _C + _D),
    "tls-1-2-fs": (_10[2:], _A + _C),
    "tls-1-0-with-1-3": ((*_10, "TLSv1.3"), _ALL + _T),
    "tls-1-2-fs-with-1-3": (("TLSv1.2", "TLSv1.3"), _A + _C + _T),
    "hybrid-policy-1-0": (_10[1:], _ALL),
    "tls-1-2-strict-no-cbc": (_10[2:], _A),
}
"""Name → (protocols, ciphers by their OpenSSL names)."""

PROTOCOLS: Final = (*_10, "TLSv1.3")
TLS_13: Final = frozenset(_T)
"""The suites of TLS 1.3; all others are for the versions before it."""
CUSTOM_CIPHERS: Final = (
    *_ALL,
    "CAMELLIA128-SHA",
    "DES-CBC3-SHA",
    "CAMELLIA256-SHA",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    *_T,
)
