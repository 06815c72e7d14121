"""The certificate of a server of our own (REST API, console): loaded, watched, and replaced without a restart.

Invariant: a pair that is unusable, or worse than the one in service, does not replace it; the log says why.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from certferry.core import checks
from certferry.core.x509.pem import Chain, InvalidPem, KeyPair, parse_pair

_LOOK: Final = 1.0
"""Seconds between two checks of the files; a check is two calls of stat."""
_log = structlog.get_logger("certferry")

Stamp = tuple[tuple[int, int, int], ...]


class UnusableTlsFiles(Exception):
    """Files that a server cannot start with; the message is for users."""


class ReloadingTls:
    """A server's TLS context that follows two files. Raises ``UnusableTlsFiles`` if they are unusable at first.

    `scratch`: where a copy of the files is while it is loaded, mode 0600; None: the system's folder.
    """

    def __init__(self, server: str, certificate: Path, key: Path, scratch: Path | None = None) -> None:
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._files = (certificate, key)
        self._scratch = scratch
        try:
            self._seen = self._stamp()
            self._serve(self._read())
        except (OSError, InvalidPem, ssl.SSLError) as reason:
            sentence = f"The {server} cannot be served over TLS with {certificate} and {key}: {_why(reason)}"
            raise UnusableTlsFiles(sentence) from None

    async def watch(self) -> None:
        """Follow the files until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            self.look()

    def look(self) -> None:
        """Load the files if they changed, and serve the pair unless it is worse."""
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return
            self._seen = stamp  # before they are read: what is written meanwhile is seen by the next look
            pair, now = self._read(), datetime.now(UTC)
            if objection := checks.objection(pair.chain, self._chain, self._chain.names, now):
                _log.warning("own certificate not taken", reason=objection.sentence)
            elif pair.chain.digest != self._chain.digest:
                self._serve(pair)
                _log.info("own certificate replaced", until=pair.chain.not_after.isoformat())
        except (OSError, InvalidPem, ssl.SSLError) as reason:
            _log.warning("own certificate not taken", reason=_why(reason))

    def _read(self) -> KeyPair:
        certificate, key = (path.read_text(encoding="ascii", errors="replace") for path in self._files)
        return parse_pair(certificate, key)

    def _stamp(self) -> Stamp:
        found = (path.stat() for path in self._files)
        return tuple((one.st_mtime_ns, one.st_ino, one.st_size) for one in found)

    def _serve(self, pair: KeyPair) -> None:
        # OpenSSL takes files alone: one of our own, so that what was checked is what is loaded.
        with tempfile.NamedTemporaryFile("w", dir=self._scratch, prefix=".tls-") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(pair.key.reveal() + pair.chain.pem)
            file.flush()
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file.name)
            self.context.load_cert_chain(file.name)
        self._chain: Chain = pair.chain


def _why(reason: Exception) -> str:
    match reason:
        case InvalidPem():
            return reason.sentence
        case ssl.SSLError():
            return f"the TLS library refuses the certificate ({reason.reason})."
        case OSError():
            return f"{reason.filename}: {reason.strerror}."
        case _:
            return str(reason)
