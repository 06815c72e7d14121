"""TLS handshakes that show which certificate a listener serves for a name.

A probe verifies no trust: it compares the served chain with the expected one, byte by byte. An unreachable
listener and a wrong certificate are different results.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import ssl
import time
from _ssl import ENCODING_DER
from typing import Final

import msgspec

from certferry.core.x509.pem import Chain, InvalidPem, parse_shown
from certferry.core.x509.presented import chain_difference

HANDSHAKE_TIMEOUT: Final = 5.0
_CIPHERS: Final = {"RSA": "aRSA", "EC": "aECDSA"}


class Target(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """The bound address and port to probe, and the server name to send."""

    address: str
    port: int
    host: str
    """Empty for a client that sends no name."""
    kind: str = ""
    """RSA or EC for a client that accepts only this key type; empty for any."""

    def __str__(self) -> str:
        request = " ".join(part for part in (self.host, self.kind) if part)
        return f"{self.address}:{self.port}" + (f" ({request})" if request else "")


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The expected chain was served, at wall-clock second `at`."""

    at: float


class WrongCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """The listener serves another certificate."""

    fingerprint: str


class WrongChain(msgspec.Struct, frozen=True, kw_only=True):
    """The listener serves the expected certificate with other intermediates."""

    why: str
    """Continues “the leaf is right, but …”."""


class HandshakeFailed(msgspec.Struct, frozen=True, kw_only=True):
    """The listener was reached, but the handshake failed."""

    why: str


class Unreachable(msgspec.Struct, frozen=True, kw_only=True):
    """No listener answered, which says nothing about the certificate."""

    why: str


ProbeResult = Served | WrongCertificate | WrongChain | HandshakeFailed | Unreachable


class NotReached(OSError):
    """No TCP connection was established."""


async def handshake(target: Target, seconds: float = HANDSHAKE_TIMEOUT) -> tuple[bytes, ...]:
    """Return the certificates (DER) that `target` serves, in the order sent, leaf first.

    Raises ``NotReached`` if nothing listens, and OSError (including ssl.SSLError) or TimeoutError if the
    handshake fails.
    """
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(target.address, target.port)
    except TimeoutError:
        raise NotReached(0, "no answer in time") from None
    except OSError as error:
        raise NotReached(error.errno or 0, error.strerror or type(error).__name__) from None
    try:
        async with asyncio.timeout(seconds):
            await writer.start_tls(_context(target.kind), server_hostname=_name(target.host))
        shown = _sent(writer.get_extra_info("ssl_object"))
    finally:
        # no close_notify: the listener does not wait for it
        writer.transport.abort()
    if not shown:
        raise ssl.SSLError("the listener showed no certificate")
    return shown


def compare(shown: tuple[bytes, ...], chain: Chain) -> ProbeResult:
    """Compare the chain in `shown` (DER) with the expected `chain`."""
    at = time.time()
    if hashlib.sha256(b"".join(shown)).hexdigest() == chain.digest:
        return Served(at=at)
    leaf = hashlib.sha256(shown[0]).hexdigest()
    if leaf != chain.fingerprint:
        return WrongCertificate(fingerprint=leaf)
    try:
        why = chain_difference(parse_shown(shown), chain)
    except InvalidPem as defect:
        why = defect.sentence
    return WrongChain(why=why) if why else Served(at=at)


def _sent(connection: ssl.SSLObject) -> tuple[bytes, ...]:
    if public := getattr(connection, "get_unverified_chain", None):  # from Python 3.13 on
        return tuple(public())
    # older versions have the same call without a public name
    chain = connection._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
    return tuple(one.public_bytes(ENCODING_DER) for one in chain or ())


@functools.cache
def _context(kind: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if kind:
        # in TLS 1.3 the suite does not name the key type; every policy that serves both has 1.2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS[kind])
    return context


def _name(host: str) -> str:
    # "" sends no name; a wildcard is probed by a name that it covers
    return f"certferry-probe{host[1:]}" if host.startswith("*.") else host
