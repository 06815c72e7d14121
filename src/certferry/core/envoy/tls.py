"""The TLS policies of the ELB in the words of Envoy's TLS library. Called by ``listeners``.

Source: the vendor's table of policies (ELB, "TLS Security Policies"). BoringSSL refuses some of the
suites in it, and one refused name fails a whole listener: those are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from certferry.core.model import Listener, SecurityPolicy

DEFAULT: Final = "tls-1-2"

_GCM = (
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
)
_RSA_GCM = ("AES128-GCM-SHA256", "AES256-GCM-SHA384")
_CBC = ("ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256")
_CBC_SHA1 = (
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-ECDSA-AES256-SHA",
)
_RSA_SHA1 = ("AES128-SHA", "AES256-SHA")
_STRICT = (*_GCM, *_RSA_GCM, *_CBC)
_ALL = (*_STRICT, *_CBC_SHA1, *_RSA_SHA1)

_VERSIONS: Final = {"TLSv1": "TLSv1_0", "TLSv1.1": "TLSv1_1", "TLSv1.2": "TLSv1_2", "TLSv1.3": "TLSv1_3"}
_KNOWN: Final = frozenset(_ALL)


class Suite(msgspec.Struct, frozen=True):
    """The oldest and newest version, and the cipher names for all but 1.3 (whose suites are fixed)."""

    oldest: str
    newest: str
    ciphers: tuple[str, ...]

    def parameters(self) -> dict[str, Any]:
        """Envoy's TlsParameters."""
        body: dict[str, Any] = {
            "tls_minimum_protocol_version": self.oldest,
            "tls_maximum_protocol_version": self.newest,
        }
        return body | ({"cipher_suites": list(self.ciphers)} if self.ciphers else {})


POLICIES: Final[Mapping[str, Suite]] = {
    "tls-1-0-inherit": Suite("TLSv1_0", "TLSv1_2", _ALL),
    "tls-1-0": Suite("TLSv1_0", "TLSv1_2", _ALL),
    "tls-1-1": Suite("TLSv1_1", "TLSv1_2", _ALL),
    "tls-1-2": Suite("TLSv1_2", "TLSv1_2", _ALL),
    "tls-1-2-strict": Suite("TLSv1_2", "TLSv1_2", _STRICT),
    "tls-1-2-strict-no-cbc": Suite("TLSv1_2", "TLSv1_2", _GCM),
    "tls-1-0-with-1-3": Suite("TLSv1_0", "TLSv1_3", _ALL),
    "tls-1-2-fs": Suite("TLSv1_2", "TLSv1_2", (*_GCM, *_CBC)),
    "tls-1-2-fs-with-1-3": Suite("TLSv1_2", "TLSv1_3", (*_GCM, *_CBC)),
    "hybrid-policy-1-0": Suite("TLSv1_1", "TLSv1_2", _ALL),
}


def suite(listener: Listener, custom: Mapping[str, SecurityPolicy]) -> Suite:
    """What `listener` negotiates: its custom policy, else its named one, else the default."""
    own = custom.get(listener.security_policy_id or "")
    return _custom(own) if own else POLICIES.get(listener.tls_ciphers_policy or "", POLICIES[DEFAULT])


def _custom(policy: SecurityPolicy) -> Suite:
    offered = [_VERSIONS[p] for p in _VERSIONS if p in policy.protocols]
    ciphers = tuple(c for c in policy.ciphers if c in _KNOWN)
    if not offered:
        return POLICIES[DEFAULT]
    # Without a cipher that we can serve, the older versions would be offered with Envoy's own list.
    if not ciphers and offered[-1] == "TLSv1_3":
        offered = offered[-1:]
    return Suite(offered[0], offered[-1], ciphers or (_GCM if offered[-1] != "TLSv1_3" else ()))
