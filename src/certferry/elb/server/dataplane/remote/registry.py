"""The registered Envoys of other machines and their load balancers: ``envoys.json`` in the state directory.

A command may change the file while the ELB runs. Only the fingerprint of its certificate identifies an Envoy, not
the name that it reports.
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
"""Seconds between two checks of the file."""


class RemoteEnvoy(msgspec.Struct, frozen=True, kw_only=True):
    """One Envoy."""

    name: str
    fingerprint: str
    """SHA-256 of its certificate, hex."""
    loadbalancers: tuple[str, ...]
    not_after: datetime
    address: str = ""
    """Address that its listeners bind; empty: the load balancer's own address."""


Guests = Mapping[str, RemoteEnvoy]
"""By fingerprint."""


class RemoteEnvoyRegistry:
    """The file."""

    def __init__(self, state: Path) -> None:
        self._file = envoys_file(state)
        self.envoys: Latest[Guests] = Latest(MappingProxyType({}))

    def read(self) -> list[RemoteEnvoy]:
        """Read all remote Envoys, sorted by name. Raises ValueError if the file is damaged."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=list[RemoteEnvoy])
        except FileNotFoundError:
            return []
        except msgspec.MsgspecError as error:
            raise ValueError(f"{self._file} is damaged: {error}.") from None

    def add(self, envoy: RemoteEnvoy) -> None:
        """Register `envoy`, instead of an Envoy of the same name. Raises ValueError."""
        if envoy.name == LOCAL or not envoy.name.isprintable() or "/" in envoy.name or not envoy.name:
            raise ValueError(f"“{envoy.name}” is no name for an Envoy.")
        self._write([*(g for g in self.read() if g.name != envoy.name), envoy])

    def remove(self, name: str) -> bool:
        """Remove the Envoy of that name; return whether there was one."""
        before = self.read()
        self._write([envoy for envoy in before if envoy.name != name])
        return any(envoy.name == name for envoy in before)

    def take(self) -> None:
        """Load the file into `envoys`. A damaged file changes nothing and is logged."""
        try:
            self.envoys.set({envoy.fingerprint: envoy for envoy in self.read()})
        except (ValueError, OSError) as problem:
            _log.error("envoys_unreadable", problem=str(problem))

    async def follow(self) -> None:
        """Keep `envoys` equal to the file, until cancelled."""
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

    def _write(self, envoys: list[RemoteEnvoy]) -> None:
        body = msgspec.json.format(msgspec.json.encode(sorted(envoys, key=lambda envoy: envoy.name)))
        private_files.write(self._file, body)
