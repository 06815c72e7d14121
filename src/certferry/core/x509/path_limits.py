"""Limits that a certificate sets for the path from a leaf to a root (RFC 5280 6.1), decoded once.

Each step is linear in the size of the certificate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

_PROCESSED: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.INHIBIT_ANY_POLICY,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.OCSP_NO_CHECK,
        ExtensionOID.POLICY_CONSTRAINTS,
        ExtensionOID.POLICY_MAPPINGS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
"""Extensions that OpenSSL processes if they are critical (``X509_supported_extension``)."""

_LONGEST: Final = 253
"""Characters of a domain name (RFC 1035 3.1)."""


class PathLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one certificate."""

    critical: str = ""
    """OID of a critical extension that clients do not process; "" if there is none."""
    issues: bool = True
    """True if it may sign certificates: basic constraints, and key usage if present."""
    server: bool = True
    """True if the certificates that it signs may be a server's: extended key usage, if present."""
    depth: int | None = None
    """Most intermediates between it and a leaf; None if unlimited."""
    excluded: tuple[str, ...] = ()
    """Names of the leaf that its name constraints exclude."""


def path_limits(
    extensions: Iterable[x509.Extension[Any]], values: Mapping[type, Any], names: tuple[str, ...]
) -> PathLimits:
    """Return the limits of a certificate with `extensions` (`values` by type) for a leaf with `names`."""
    basic, usage = values.get(x509.BasicConstraints), values.get(x509.KeyUsage)
    unknown = (e.oid.dotted_string for e in extensions if e.critical and e.oid not in _PROCESSED)
    return PathLimits(
        critical=next(unknown, ""),
        issues=bool(basic and basic.ca) and (usage is None or usage.key_cert_sign),
        server=may_serve(values.get(x509.ExtendedKeyUsage)),
        depth=basic.path_length if basic else None,
        excluded=tuple(_excluded(values.get(x509.NameConstraints), names)),
    )


def may_serve(usage: x509.ExtendedKeyUsage | None) -> bool:
    """Return whether an extended key usage (None: absent) permits TLS servers."""
    return (
        usage is None or ExtendedKeyUsageOID.SERVER_AUTH in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage
    )


def _excluded(constraints: x509.NameConstraints | None, names: tuple[str, ...]) -> Iterator[str]:
    """Yield the names outside of `constraints` (RFC 5280 4.2.1.10)."""
    if constraints is None:
        return
    permitted, excluded = _trees(constraints.permitted_subtrees), _trees(constraints.excluded_subtrees)
    domains, networks = any(isinstance(t, str) for t in permitted), any(not isinstance(t, str) for t in permitted)
    for name in names:
        trees = set(_above(name))
        limited = domains if isinstance(next(iter(trees)), str) else networks
        if trees & excluded or (limited and not trees & permitted):
            yield name


_Tree = str | IPv4Network | IPv6Network


def _trees(given: Iterable[x509.GeneralName] | None) -> frozenset[_Tree]:
    """Return the subtrees of domains and addresses. Others do not limit the names of a server."""
    return frozenset(
        value.lower() if isinstance(value, str) else value
        for name in given or ()
        if isinstance(name, x509.DNSName | x509.IPAddress)
        and isinstance(value := name.value, str | IPv4Network | IPv6Network)
    )


def _above(name: str) -> Iterator[_Tree]:
    """Yield all subtrees that contain `name`, as constraints spell them."""
    try:
        network = ip_network(name)
    except ValueError:
        yield ""
        yield name
        if len(name) > _LONGEST:
            return
        for at in (at for at, letter in enumerate(name) if letter == "."):
            yield name[at:]  # OpenSSL's form: subdomains only
            yield name[at + 1 :]
        return
    yield from (network.supernet(new_prefix=length) for length in range(network.prefixlen + 1))
