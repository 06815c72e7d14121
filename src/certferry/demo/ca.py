"""The demo CA, and the good and bad certificates that it issues.

The CA's key stays in its folder (0600). Only clients that name the CA (`curl --cacert`) trust its certificates.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from cryptography import x509

from certferry.runtime import private_files
from certferry.runtime.private_ca import SERVER, Leaf, PrivateCa, subject

HOST: Final = "hello.certferry.test"
"""The host of the demo page; ``.test`` is reserved (RFC 6761)."""
OTHER_HOST: Final = "elsewhere.certferry.test"


class Pair(NamedTuple):
    """A certificate and a key as they would stand in files (PEM, or what pretends to be)."""

    certificate: str
    key: str

    def __repr__(self) -> str:
        return "Pair(…)"


def open_authority(folder: Path, now: datetime) -> PrivateCa:
    """Open the CA in `folder` (``ca.crt``, ``ca.key``), or create it. Raises OSError, ``PrivateCaError``."""
    # The folder above holds credentials too: neither may be made readable by others.
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    start = now - timedelta(days=1)
    return PrivateCa.open_or_create(folder / "ca.crt", folder / "ca.key", "Certferry demo CA", start)


def good(authority: PrivateCa, host: str, now: datetime, days: float) -> Pair:
    """Issue a pair that works and expires `days` from `now`; a negative number: in the past."""
    end = now + timedelta(days=days)
    start = min(now, end) - timedelta(days=1)
    issued = authority.issue(Leaf(subject(host), [x509.DNSName(host)], SERVER, start, end))
    return Pair(issued.certificate.decode(), issued.key.decode())


def mismatch(authority: PrivateCa, host: str, now: datetime, days: float) -> Pair:
    """Issue a good certificate with the key of another."""
    return Pair(good(authority, host, now, days).certificate, good(authority, host, now, days).key)


def garbage(authority: PrivateCa, host: str, now: datetime, days: float) -> Pair:
    """Issue a certificate whose text is damaged, with a good key."""
    damaged = f"-----BEGIN CERTIFICATE-----\n{secrets.token_urlsafe(60)}\n-----END CERTIFICATE-----\n"
    return Pair(damaged, good(authority, host, now, days).key)


def expired(authority: PrivateCa, host: str, now: datetime, days: float) -> Pair:
    """Issue a pair that expired yesterday."""
    return good(authority, host, now, -1)


def wrong_host(authority: PrivateCa, host: str, now: datetime, days: float) -> Pair:
    """Issue a good pair for another host."""
    return good(authority, OTHER_HOST if host != OTHER_HOST else HOST, now, days)


BAD: Final[dict[str, Callable[[PrivateCa, str, datetime, float], Pair]]] = {
    "mismatch": mismatch,
    "garbage": garbage,
    "expired": expired,
    "wrong-host": wrong_host,
}
"""Makers of defective pairs, by the word of ``certferry demo certificate --bad``."""


class Files(NamedTuple):
    """The files of a pair; `body` is the request that POSTs or PUTs it to an ELB."""

    certificate: Path
    key: Path
    body: Path


def save(pair: Pair, prefix: Path, name: str, domain: str) -> Files:
    """Write a pair as ``<prefix>.crt``, ``.key`` and, for an ELB, ``.json`` (all 0600). Raises OSError."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    files = Files(*(prefix.with_name(prefix.name + suffix) for suffix in (".crt", ".key", ".json")))
    fields = {"name": name, "type": "server", "domain": domain}
    fields |= {"certificate": pair.certificate, "private_key": pair.key}
    private_files.write(files.certificate, pair.certificate)
    private_files.write(files.key, pair.key)
    private_files.write(files.body, msgspec.json.encode({"certificate": fields}).decode())
    return files
