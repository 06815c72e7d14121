"""The TLS policies of the ELB, and what Envoy's TLS library serves of each.

Called by ``listeners``; the ELB's API shows the same tables. Source: the vendor's table of policies
(ELB, "TLS Security Policies"), suites by their OpenSSL names. BoringSSL has not all of the suites in
it, and one name that it does not know fails a whole listener: those are left out, and said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from certferry.core.model.elb import Listener, SecurityPolicy

DEFAULT: Final = "tls-1-2"

_GCM = (
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
)
_RSA_GCM = ("AES128-GCM-SHA256", "AES256-GCM-SHA384")
_CBC_128 = ("ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256")
_RSA_CBC = ("AES128-SHA256", "AES256-SHA256")
_CBC_256 = ("ECDHE-RSA-AES256-SHA384", "ECDHE-ECDSA-AES256-SHA384")
_SHA1 = ("ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA", "ECDHE-ECDSA-AES256-SHA")
_RSA_SHA1 = ("AES128-SHA", "AES256-SHA")
_TLS_1_3 = (
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
    "TLS_AES_128_CCM_SHA256",
)
_STRICT = (*_GCM, *_RSA_GCM, *_CBC_128, *_RSA_CBC, *_CBC_256)
_ALL = (*_STRICT, *_SHA1, *_RSA_SHA1)
_FORWARD = (*_GCM, *_CBC_128, *_CBC_256)

_VERSIONS: Final = {"TLSv1": "TLSv1_0", "TLSv1.1": "TLSv1_1", "TLSv1.2": "TLSv1_2", "TLSv1.3": "TLSv1_3"}
PROTOCOLS: Final = tuple(_VERSIONS)
"""The versions that a policy may list, oldest first."""
SUITES: Final = (*_ALL, *_TLS_1_3)
"""The suites that a policy may list."""
UNSERVED: Final = frozenset({*_RSA_CBC, *_CBC_256, "TLS_AES_128_CCM_8_SHA256", "TLS_AES_128_CCM_SHA256"})
"""Suites that BoringSSL lacks."""
ALWAYS: Final = tuple(suite for suite in _TLS_1_3 if suite not in UNSERVED)
"""With TLS 1.3 BoringSSL offers all of its suites for it, whichever are listed."""


def _named(versions: tuple[str, ...], suites: tuple[str, ...]) -> SecurityPolicy:
    return SecurityPolicy(protocols=versions, ciphers=suites)


POLICIES: Final[Mapping[str, SecurityPolicy]] = {
    "tls-1-0-inherit": _named(PROTOCOLS[:3], _ALL),
    "tls-1-0": _named(PROTOCOLS[:3], _ALL),
    "tls-1-1": _named(PROTOCOLS[1:3], _ALL),
    "tls-1-2": _named(PROTOCOLS[2:3], _ALL),
    "tls-1-2-strict": _named(PROTOCOLS[2:3], _STRICT),
    "tls-1-2-fs": _named(PROTOCOLS[2:3], _FORWARD),
    "tls-1-0-with-1-3": _named(PROTOCOLS, SUITES),
    "tls-1-2-fs-with-1-3": _named(PROTOCOLS[2:], (*_FORWARD, *_TLS_1_3)),
    "hybrid-policy-1-0": _named(PROTOCOLS[1:3], _ALL),
    "tls-1-2-strict-no-cbc": _named(PROTOCOLS[2:3], _GCM),
}
"""The system policies, as the vendor lists them."""


class ServedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """The versions and suites that Envoy negotiates under a policy, and those that it does not support."""

    protocols: tuple[str, ...]
    ciphers: tuple[str, ...]
    missing_protocols: tuple[str, ...] = ()
    missing_ciphers: tuple[str, ...] = ()

    def parameters(self) -> dict[str, Any]:
        """Return Envoy's TlsParameters."""
        older = [cipher for cipher in self.ciphers if cipher not in _TLS_1_3]
        body: dict[str, Any] = {
            "tls_minimum_protocol_version": _VERSIONS[self.protocols[0]],
            "tls_maximum_protocol_version": _VERSIONS[self.protocols[-1]],
        }
        return body | ({"cipher_suites": older} if older else {})


def served(policy: SecurityPolicy) -> ServedCertificate:
    """Return what Envoy serves of `policy`: never a version or an older suite that it does not list.

    Envoy knows a range of versions: of a list with a gap it gets the newest unbroken part. Versions
    up to 1.2 need a suite of their own; where none is left they are not offered. A policy of which
    nothing can be served is served as TLS 1.2 with the strongest suites, for a listener has to have something.
    """
    known = [c for c in dict.fromkeys(policy.ciphers) if c in SUITES and c not in UNSERVED]
    older = tuple(c for c in known if c not in _TLS_1_3)
    versions = _unbroken([v for v in PROTOCOLS if v in policy.protocols and (older or v == "TLSv1.3")])
    if not versions:
        versions, older = ("TLSv1.2",), _GCM
    offered = (older if versions != ("TLSv1.3",) else ()) + (ALWAYS if "TLSv1.3" in versions else ())
    return ServedCertificate(
        protocols=versions,
        ciphers=offered,
        missing_protocols=tuple(v for v in policy.protocols if v not in versions),
        missing_ciphers=tuple(c for c in policy.ciphers if c not in offered),
    )


def negotiated(listener: Listener, custom: Mapping[str, SecurityPolicy]) -> ServedCertificate:
    """Return the TLS of `listener`: its custom policy, else its named one, else the default."""
    own = custom.get(listener.security_policy_id or "")
    return served(own or POLICIES.get(listener.tls_ciphers_policy or "", POLICIES[DEFAULT]))


def _unbroken(versions: list[str]) -> tuple[str, ...]:
    """Return the newest of `versions` without a gap."""
    newest: list[str] = []
    for version in reversed(PROTOCOLS):
        if version in versions:
            newest.insert(0, version)
        elif newest:
            break
    return tuple(newest)
