"""The access log: Envoy's raw lines, each with the fingerprint of the certificate that the client got.

While no ELB runs, Envoy continues to write, and the next ELB catches up. No line is lost; a line may be written twice
after a power cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import structlog

from certferry.core.envoy.listeners.access_log import FILE
from certferry.core.envoy.listeners.listener import PLAIN
from certferry.core.envoy.listeners.sds import DEFAULT, label, secret_name
from certferry.elb.server.dataplane.access_log.secret_history import SecretHistory, SecretInterval
from certferry.elb.server.dataplane.envoy.admin import Admin, Unanswered

_log = structlog.get_logger(__name__)
_PERIOD: Final = 0.5
_SLICE: Final = 32 << 10
"""Bytes of raw lines after which other tasks get a turn."""
_RAW_LIMIT: Final = 8 << 20
_LINGER: Final = 3.0
"""Seconds until Envoy no longer writes to a file after it reopened its logs."""


class ReadOffset(msgspec.Struct, frozen=True):
    """The position up to which the raw file was read."""

    inode: int
    offset: int


class RawLine(msgspec.Struct, frozen=True):
    """The fields of Envoy's line by which the certificate is looked up."""

    time: datetime
    listener: str
    place: str = PLAIN
    connected_us: int | None = None
    """Microseconds from the start of the connection to `time`."""
    tls_cipher: str = ""


_decode: Final = msgspec.json.Decoder(RawLine).decode


class AccessLog:
    """Reads ``access.raw`` and writes ``access.log``, both in `directory`."""

    def __init__(
        self, directory: Path, admin: Admin, fresh: Callable[[], Iterable[SecretInterval]], limit: int
    ) -> None:
        self._raw = directory / FILE
        self._file = directory / "access.log"
        self._mark = directory / "access.mark"
        self._admin, self._fresh, self._limit = admin, fresh, limit
        self._intervals = SecretHistory(directory / "access.seats")

    async def follow(self) -> None:
        """Run until cancelled; disk errors are logged and retried."""
        while True:
            try:
                await self._read_on()
            except OSError as error:
                _log.error("access_log_failed", problem=str(error), file=str(self._file))
                await asyncio.sleep(10 * _PERIOD)
            await asyncio.sleep(_PERIOD)

    async def _read_on(self) -> None:
        """Process all complete lines, then rotate a file that has grown too long."""
        self._intervals.add(self._fresh())
        try:
            raw = self._raw.open("rb")
        except FileNotFoundError:
            return
        with raw:
            raw.seek(self._offset(raw))
            await self._drain(raw)
            if raw.tell() > _RAW_LIMIT:
                await self._begin_anew(raw)

    def _offset(self, raw: BinaryIO) -> int:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            mark = msgspec.json.decode(self._mark.read_bytes(), type=ReadOffset)
            facts = os.fstat(raw.fileno())
            if mark.inode == facts.st_ino and mark.offset <= facts.st_size:
                return mark.offset
        return 0

    async def _drain(self, raw: BinaryIO) -> None:
        while lines := _whole_lines(raw):
            self._intervals.add(self._fresh())
            self._write(b"".join(self._told(line) for line in lines))
            self._mark.write_bytes(msgspec.json.encode(ReadOffset(os.fstat(raw.fileno()).st_ino, raw.tell())))
            await asyncio.sleep(0)

    async def _begin_anew(self, raw: BinaryIO) -> None:
        """Make Envoy reopen its log, and read the old file to its end."""
        self._raw.unlink()
        try:
            await self._admin.ask("/reopen_logs", "POST")
        except Unanswered:
            return
        await asyncio.sleep(_LINGER)
        await self._drain(raw)

    def _write(self, lines: bytes) -> None:
        if self._file.exists() and self._file.stat().st_size > self._limit:
            self._file.replace(self._file.with_suffix(".log.1"))
        with os.fdopen(os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
            file.write(lines)

    def _told(self, line: bytes) -> bytes:
        try:
            raw = _decode(line)
        except (msgspec.DecodeError, ValueError):
            return line  # an unprocessed line is better than none
        if raw.place == PLAIN or raw.connected_us is None:
            return line
        first, *others = self._shown(raw, raw.time.timestamp() - raw.connected_us / 1e6) or (None,)
        alternatives = b',"certificate_sha256_or":%b' % msgspec.json.encode(others) if others else b""
        return b'%b,"certificate_sha256":%b%b}\n' % (line.rstrip()[:-1], msgspec.json.encode(first), alternatives)

    def _shown(self, raw: RawLine, connected: float) -> list[str]:
        """Return fingerprints, most likely first. A place may have two slots: ECDSA, then RSA."""
        where = DEFAULT if raw.place == DEFAULT else label(raw.place)
        slots = [self._intervals.shown(secret_name(raw.listener, where, n), connected) for n in (0, 1)]
        if slots[1] and "RSA" in raw.tls_cipher:
            slots = slots[1:]
        elif "ECDSA" in raw.tls_cipher:
            slots = slots[:1]
        return [fingerprint for some in slots for fingerprint in some]


def _whole_lines(raw: BinaryIO) -> list[bytes]:
    """Return the next complete lines from Envoy."""
    begun = raw.tell()
    data = raw.read(_SLICE)
    end = data.rfind(b"\n") + 1
    if not end and len(data) == _SLICE:
        end = len(data) + len(raw.readline())
        raw.seek(begun)
        data = raw.read(end)
    raw.seek(begun + end)
    return data[:end].splitlines(keepends=True)
