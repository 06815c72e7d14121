"""Which Envoys of other machines are let in, and to which load balancers: ``envoys.json`` in the state.

``certferry envoy`` writes it, the ELB reads it, also while it runs. An Envoy is known by the
fingerprint of its certificate alone; what it calls itself decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
import structlog

from certferry.elb.server.dataplane.xds.server import LOCAL
from certferry.elb.server.paths import envoys_file
from certferry.runtime import private_files
from certferry.runtime.latest import Latest

_log = structlog.get_logger(__name__)
_PERIOD: Final = 0.5
"""Seconds between looks at the file."""


class RemoteEnvoy(msgspec.Struct, frozen=True, kw_only=True):
    """One Envoy."""

    name: str
    fingerprint: str
    """SHA-256 of its certificate, hex."""
    loadbalancers: tuple[str, ...]
    not_after: datetime
    address: str = ""
    """Where its listeners bind; empty: on the load balancer's own address."""


Guests = Mapping[str, RemoteEnvoy]
"""By fingerprint."""


class RemoteEnvoyRegistry:
    """The file."""

    def __init__(self, state: Path) -> None:
        self._file = envoys_file(state)
        self.guests: Latest[Guests] = Latest(MappingProxyType({}))

    def read(self) -> list[RemoteEnvoy]:
        """All, sorted by name. Raises ValueError when the file cannot be read as such."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=list[RemoteEnvoy])
        except FileNotFoundError:
            return []
        except msgspec.MsgspecError as error:
            raise ValueError(f"{self._file} is damaged: {error}.") from None

    def add(self, guest: RemoteEnvoy) -> None:
        """Lets `guest` in, instead of the one of that name. Raises ValueError."""
        if guest.name == LOCAL or not guest.name.isprintable() or "/" in guest.name or not guest.name:
            raise ValueError(f"“{guest.name}” is no name for an Envoy.")
        self._write([*(g for g in self.read() if g.name != guest.name), guest])

    def remove(self, name: str) -> bool:
        """Lets the one of that name in no longer; whether there was one."""
        before = self.read()
        self._write([guest for guest in before if guest.name != name])
        return any(guest.name == name for guest in before)

    def take(self) -> None:
        """Makes `guests` what the file says. A damaged file changes nothing, and is said."""
        try:
            self.guests.set({guest.fingerprint: guest for guest in self.read()})
        except (ValueError, OSError) as problem:
            _log.error("envoys_unreadable", problem=str(problem))

    async def follow(self) -> None:
        """Keeps `guests` what the file says, for ever."""
        seen = None
        while True:
            if (now := self._changed()) != seen:
                self.take()
                seen = now
            await asyncio.sleep(_PERIOD)

    def _changed(self) -> tuple[int, int] | None:
        try:
            facts = self._file.stat()
        except OSError:
            return None
        return facts.st_mtime_ns, facts.st_ino

    def _write(self, guests: list[RemoteEnvoy]) -> None:
        body = msgspec.json.format(msgspec.json.encode(sorted(guests, key=lambda guest: guest.name)))
        private_files.write(self._file, body)
