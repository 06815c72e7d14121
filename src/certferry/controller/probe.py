"""What a client really sees: a TLS handshake with an address, a port and a name.

Called after a write that changes what is served. It knows nothing of certificates but the bytes
that come; it verifies nothing, for the question is what is served and not whether it is good.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import ssl
import time
from collections.abc import Callable
from typing import Final

import msgspec

FIRST_PAUSE: Final = 0.002
LONGEST_PAUSE: Final = 0.5
ONE_HANDSHAKE: Final = 5.0


class Target(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Where to look: the address and port that are really bound, and the name to ask for."""

    address: str
    port: int
    host: str
    """"" for a client that names no host."""

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" + (f" ({self.host})" if self.host else "")


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The expected certificate was shown, at wall-clock second `at`."""

    at: float


class Wrong(msgspec.Struct, frozen=True, kw_only=True):
    """The listener answers, and until the deadline with another certificate."""

    fingerprint: str


class Unreachable(msgspec.Struct, frozen=True, kw_only=True):
    """No handshake came about until the deadline."""

    why: str


Sight = Served | Wrong | Unreachable


async def until_served(
    target: Target, fingerprint: str, deadline: float, wanted: Callable[[], bool] = lambda: True
) -> Sight:
    """Look again and again until `target` shows `fingerprint`.

    At most `deadline` seconds, and only as long as that is what is `wanted` there.
    """
    end, pause = time.monotonic() + deadline, FIRST_PAUSE
    while True:
        # The first look waits too: the ELB says yes a little before clients can see it.
        await asyncio.sleep(pause)
        sight = await _look(target, fingerprint, min(ONE_HANDSHAKE, deadline))
        if isinstance(sight, Served) or time.monotonic() + pause > end or not wanted():
            return sight
        pause = min(pause * 1.6, LONGEST_PAUSE)


async def handshake(target: Target, seconds: float = ONE_HANDSHAKE) -> bytes:
    """The leaf certificate (DER) that `target` shows; raises OSError, ssl.SSLError or TimeoutError."""
    async with asyncio.timeout(seconds):
        _, writer = await asyncio.open_connection(
            target.address, target.port, ssl=_context(), server_hostname=_name(target.host)
        )
    try:
        connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
        leaf = connection.getpeercert(binary_form=True)
    finally:
        # no close_notify: nobody waits for it, and the listener sees a client that is done
        writer.transport.abort()
    if leaf is None:
        raise ssl.SSLError("the listener showed no certificate")
    return leaf


async def _look(target: Target, fingerprint: str, seconds: float) -> Sight:
    try:
        leaf = await handshake(target, seconds)
    except TimeoutError:
        return Unreachable(why="no answer in time")
    except ssl.SSLError as error:
        return Unreachable(why=f"the TLS handshake failed ({error.reason or 'no reason given'})")
    except OSError as error:
        return Unreachable(why=error.strerror or type(error).__name__)
    seen = hashlib.sha256(leaf).hexdigest()
    return Served(at=time.time()) if seen == fingerprint else Wrong(fingerprint=seen)


@functools.cache
def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _name(host: str) -> str:
    # "" sends no name at all; a wildcard is asked for by a name that it covers
    return f"certferry-probe{host[1:]}" if host.startswith("*.") else host
