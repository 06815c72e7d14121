"""A client process that makes handshakes without a pause and reports each new certificate.

Run as ``python -m bench.prober HOST PORT NAME``; writes a line ``<monotonic seconds> <fingerprint>``
for each new certificate. Its clock is the one of every process on this machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import sys
import time
from types import TracebackType


class Prober:
    """The process, and what it says."""

    def __init__(self, host: str, port: int, name: str) -> None:
        self._command = (sys.executable, "-m", "bench.prober", host, str(port), name)
        self._process: asyncio.subprocess.Process | None = None
        self.failures = 0

    async def __aenter__(self) -> Prober:
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=asyncio.subprocess.PIPE)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def speaks(self, seconds: float = 30) -> None:
        """Waits for its first word: from then on it looks."""
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(seconds):
            await self._process.stdout.readline()

    async def sees(self, fingerprint: str, seconds: float = 30) -> float:
        """When (``time.monotonic``) a handshake that shows `fingerprint` was completed first."""
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(seconds):
            while True:
                at, shown = (await self._process.stdout.readline()).decode().split()
                if shown == fingerprint:
                    return float(at)
                self.failures += shown == "failed"


def _probe(host: str, port: int, name: str) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # compares fingerprints; other tests check the issuer
    last = ""
    while True:
        try:
            with (
                socket.create_connection((host, port), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname=name) as shaken,
            ):
                shown = hashlib.sha256(shaken.getpeercert(binary_form=True) or b"").hexdigest()
        except OSError:
            shown = "failed"
        if shown != last:
            print(f"{time.monotonic():.6f} {shown}", flush=True)
            last = shown


if __name__ == "__main__":
    _probe(sys.argv[1], int(sys.argv[2]), sys.argv[3])
