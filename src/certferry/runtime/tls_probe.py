"""What a client really sees: a TLS handshake with an address, a port and a name.

The controller asks it after a write that changes what is served, as its patrol does, the console and
the command line. It verifies nothing, for the question is what is served and not whether it is good: the
bytes that come are compared with those that are to come, the leaf and what is sent with it. What could
not be reached is told apart from what was reached and is wrong.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import ssl
import time
from _ssl import ENCODING_DER
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from certferry.core.x509.pem import Chain, InvalidPem, parse_shown
from certferry.core.x509.presented import chain_difference
from certferry.runtime.backoff import Backoff

FIRST_PAUSE: Final = 0.002
LONGEST_PAUSE: Final = 0.5
HANDSHAKE_TIMEOUT: Final = 5.0
_CIPHERS: Final = {"RSA": "aRSA", "EC": "aECDSA"}


class Target(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Where to look: the address and port that are really bound, and the name to ask for."""

    address: str
    port: int
    host: str
    """"" for a client that names no host."""
    kind: str = ""
    """RSA or EC for a client that understands no other; "" for one that takes what it is shown."""

    def __str__(self) -> str:
        asked = " ".join(part for part in (self.host, self.kind) if part)
        return f"{self.address}:{self.port}" + (f" ({asked})" if asked else "")


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The expected certificate was shown, at wall-clock second `at`."""

    at: float


class WrongCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """The listener answers with another certificate."""

    fingerprint: str


class WrongChain(msgspec.Struct, frozen=True, kw_only=True):
    """The listener answers with the right certificate, and sends another chain with it."""

    why: str
    """Goes on after “the right certificate is shown, but …”."""


class HandshakeFailed(msgspec.Struct, frozen=True, kw_only=True):
    """The listener was reached, and no handshake came about."""

    why: str


class Unreachable(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody answered there: says nothing of the certificate."""

    why: str


ProbeResult = Served | WrongCertificate | WrongChain | HandshakeFailed | Unreachable
ProbeFunction = Callable[[Target, Chain, float], Awaitable[ProbeResult]]


class NotReached(OSError):
    """No TCP connection came about."""


async def handshake(target: Target, seconds: float = HANDSHAKE_TIMEOUT) -> tuple[bytes, ...]:
    """The certificates (DER) that `target` shows, leaf first, in the order in which they are sent.

    Raises ``NotReached`` where nobody listens, and OSError (ssl.SSLError among them) or TimeoutError where
    the handshake fails.
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
        # no close_notify: nobody waits for it, and the listener sees a client that is done
        writer.transport.abort()
    if not shown:
        raise ssl.SSLError("the listener showed no certificate")
    return shown


async def probe_once(target: Target, chain: Chain, seconds: float = HANDSHAKE_TIMEOUT) -> ProbeResult:
    """One handshake, judged."""
    try:
        shown = await handshake(target, seconds)
    except NotReached as error:
        return Unreachable(why=error.strerror or "no reason given")
    except TimeoutError:
        return HandshakeFailed(why="no answer to the TLS handshake in time")
    except ssl.SSLError as error:
        return HandshakeFailed(why=f"the TLS handshake failed ({error.reason or 'no reason given'})")
    except OSError as error:
        return HandshakeFailed(why=f"the TLS handshake was cut ({error.strerror or type(error).__name__})")
    return judge(shown, chain)


async def wait_until_served(
    target: Target,
    chain: Chain,
    deadline: float,
    still_wanted: Callable[[], bool] = lambda: True,
    on_result: Callable[[ProbeResult], None] = lambda result: None,
    probe: ProbeFunction = probe_once,
) -> ProbeResult:
    """Look again and again until `target` shows `chain`.

    At most `deadline` seconds, and only as long as that is what is `wanted` there. `seen` is told of
    every look; `looking` makes it.
    """
    end, backoff = time.monotonic() + deadline, Backoff(FIRST_PAUSE, LONGEST_PAUSE, 1.6)
    while True:
        # The first look waits too: the ELB says yes a little before clients can see it.
        await backoff.wait()
        result = await probe(target, chain, min(HANDSHAKE_TIMEOUT, deadline))
        on_result(result)
        if isinstance(result, Served) or time.monotonic() + backoff.delay > end or not still_wanted():
            return result


def judge(shown: tuple[bytes, ...], chain: Chain) -> ProbeResult:
    """What was `shown`, where it is to be `chain`."""
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
    # before, the same call is there without a public name
    chain = connection._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
    return tuple(one.public_bytes(ENCODING_DER) for one in chain or ())


@functools.cache
def _context(kind: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if kind:
        # in TLS 1.3 the suite says nothing of the certificate; every policy that serves both has 1.2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS[kind])
    return context


def _name(host: str) -> str:
    # "" sends no name at all; a wildcard is asked for by a name that it covers
    return f"certferry-probe{host[1:]}" if host.startswith("*.") else host
