"""TLS handshakes of commands, with the cause of a failure in words that a user can act on."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Literal, NamedTuple

from certferry.core.x509.pem import Chain, InvalidPem, parse_shown


class Handshake(NamedTuple):
    """The chain that an address shows, or why it shows none."""

    chain: Chain | None = None
    error: str = ""
    failure: Literal["", "not resolved", "not reached", "handshake failed", "unreadable"] = ""

    @property
    def reached(self) -> bool:
        """True if a connection was accepted."""
        return self.failure not in ("not resolved", "not reached")


async def shake_hands(address: str, port: int, host: str, kind: str = "") -> Handshake:
    """Connect to `address`:`port` and ask for `host`. `kind`: EC or RSA for a client that takes no other."""
    from certferry.runtime.tls_probe import NotReached, Target, handshake

    at = f"{address}:{port}"
    try:
        await asyncio.get_running_loop().getaddrinfo(address, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return Handshake(error=f"the name {address} cannot be resolved ({error.strerror})", failure="not resolved")
    try:
        shown = await handshake(Target(address=address, port=port, host=host, kind=kind))
    except NotReached as error:
        refused = error.errno == errno.ECONNREFUSED or isinstance(error.__context__, ConnectionRefusedError)
        cause = "refuses connections: nothing listens there" if refused else f"is not reached: {error.strerror}"
        return Handshake(error=f"{at} {cause}", failure="not reached")
    except (OSError, TimeoutError) as error:
        reason = str(error) or "no answer in time"
        cause = f"{at} accepts connections, but the TLS handshake failed: {reason}"
        return Handshake(error=cause, failure="handshake failed")
    try:
        return Handshake(parse_shown(shown))
    except InvalidPem as defect:
        return Handshake(error=f"{at} shows a certificate that cannot be read: {defect.sentence}", failure="unreadable")
