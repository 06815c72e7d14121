"""The registered Envoys of other machines and their load balancers: a table of the store.

A command may change it while ELBs run. Only the fingerprint of its certificate identifies an Envoy, not the name that
it reports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec
import structlog
from sqlalchemy import Connection, Engine, delete, insert, select
from sqlalchemy.exc import SQLAlchemyError

from certferry.elb.server.dataplane.xds.server import LOCAL
from certferry.elb.server.store import schema
from certferry.elb.server.store.database import reading
from certferry.runtime.latest import Latest

_log = structlog.get_logger(__name__)
_PERIOD: Final = 0.5
"""Seconds between two reads of the table."""
_TABLE: Final = schema.remote_envoys


class RemoteEnvoy(msgspec.Struct, frozen=True, kw_only=True):
    """One Envoy."""

    name: str
    fingerprint: str
    """SHA-256 of its certificate, hex."""
    loadbalancers: tuple[str, ...]
    not_after: datetime
    address: str = ""
    """Address that its listeners bind; empty: the load balancer's own address."""


class RemoteEnvoyRegistry:
    """The table."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.envoys: Latest[Mapping[str, RemoteEnvoy]] = Latest(MappingProxyType({}))
        """By fingerprint."""

    def read(self) -> list[RemoteEnvoy]:
        """Read all remote Envoys, sorted by name."""
        with reading(self._engine).connect() as connection:
            rows = connection.execute(select(_TABLE).order_by(_TABLE.c.name)).mappings()
            return [RemoteEnvoy(**{**row, "loadbalancers": tuple(row["loadbalancers"])}) for row in rows]

    def add(self, envoy: RemoteEnvoy) -> None:
        """Register `envoy`, instead of an Envoy of the same name. Raises ValueError."""
        if envoy.name == LOCAL or not envoy.name.isprintable() or "/" in envoy.name or not 0 < len(envoy.name) < 256:
            raise ValueError(f"“{envoy.name}” is no name for an Envoy.")
        with self._engine.begin() as connection:
            connection.execute(delete(_TABLE).where(_TABLE.c.name == envoy.name))
            keep(connection, envoy)

    def remove(self, name: str) -> bool:
        """Remove the Envoy of that name; return whether there was one."""
        with self._engine.begin() as connection:
            return connection.execute(delete(_TABLE).where(_TABLE.c.name == name)).rowcount > 0

    def take(self) -> None:
        """Load the table into `envoys`. If it cannot be read, nothing changes, and that is logged."""
        try:
            present = {envoy.fingerprint: envoy for envoy in self.read()}
        except SQLAlchemyError as error:
            _log.error("envoys_unreadable", problem=str(getattr(error, "orig", error)))
            return
        if present != self.envoys.value:
            self.envoys.set(present)

    async def follow(self) -> None:
        """Keep `envoys` equal to the table, until cancelled."""
        while True:
            await asyncio.sleep(_PERIOD)
            self.take()


def keep(connection: Connection, envoy: RemoteEnvoy) -> None:
    """Insert the row of `envoy`."""
    connection.execute(insert(_TABLE), msgspec.structs.asdict(envoy) | {"loadbalancers": list(envoy.loadbalancers)})
