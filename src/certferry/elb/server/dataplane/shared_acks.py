"""The acknowledgements of the Envoys that are connected to other ELBs of a shared database.

Each ELB writes what its own Envoys answer. A reader asks the database, so that it never reads less than was written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Row, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from certferry.elb.server.dataplane.xds.acks import SlotStatus
from certferry.elb.server.dataplane.xds.server import AdsServer
from certferry.elb.server.store import schema
from certferry.elb.server.store.database import reading
from certferry.elb.server.store.shared.replicas import ReplicaRecord, is_living

_log = structlog.get_logger("certferry.elb")
_EVERY: Final = 0.1
"""Seconds between two writes."""
_ROUTE_TABLE: Final = "route-table"
"""The kind of an accepted route table, whose version is the digest."""
_ANSWERS: Final = schema.envoy_answers
_REPLICAS: Final = schema.replicas


class SharedAcks:
    """The acknowledgements at all ELBs; `record` is that of this one."""

    def __init__(self, record: ReplicaRecord, ads: AdsServer) -> None:
        self._record = record
        self._ads = ads
        self._refusals: dict[str, dict[tuple[str, str], str]] = {}
        """As written, by Envoy."""
        self._routes: dict[str, dict[str, str]] = {}
        """The versions of the route tables with challenges, as written, by Envoy and listener."""

    async def publish(self) -> None:
        """Write what our Envoys answer until cancelled."""
        while True:
            names = self._ads.connected()
            try:
                if names != self._record.envoys:
                    await self._write_names(names)
                rows, gone = self._changes(names)
                if rows or gone:
                    await asyncio.to_thread(self._write, rows, gone)
            except SQLAlchemyError as error:
                _log.warning("the answers of Envoys are not shared", reason=str(getattr(error, "orig", error)))
                self._record.envoys = ()  # all is written again
            await asyncio.sleep(_EVERY)

    def connected(self) -> tuple[str, ...]:
        """Return the Envoys that are connected to other ELBs, as HOST/NAME."""
        with reading(self._record.engine).connect() as connection:
            rows = connection.execute(
                select(_REPLICAS.c.host, _REPLICAS.c.envoys).where(is_living(connection), self._others())
            )
            return tuple(sorted(f"{row.host}/{name}" for row in rows for name in row.envoys))

    def slots(self, listener_id: str) -> Mapping[str, Mapping[str, SlotStatus]]:
        """Return the slots of a listener on those Envoys, by Envoy."""
        result: dict[str, dict[str, SlotStatus]] = {}
        with reading(self._record.engine).connect() as connection:
            for name, row in self._answers(connection, _ANSWERS.c.listener == listener_id, _ANSWERS.c.kind == ""):
                status = SlotStatus(digest=row.digest, accepted=row.accepted, error=row.error, since=row.since)
                result.setdefault(name, {})[row.name] = status
        return result

    def refusals(self) -> Mapping[str, Mapping[tuple[str, str], str]]:
        """Return the rejected resources of those Envoys by (type URL, name), by Envoy."""
        result: dict[str, dict[tuple[str, str], str]] = {}
        with reading(self._record.engine).connect() as connection:
            for name, row in self._answers(connection, _ANSWERS.c.kind.not_in(("", _ROUTE_TABLE))):
                result.setdefault(name, {})[row.kind, row.name] = row.error
        return result

    def route_versions(self, listener_id: str) -> Mapping[str, str]:
        """Return the version of a listener's route table on those Envoys, by Envoy; only of tables with challenges."""
        with reading(self._record.engine).connect() as connection:
            rows = self._answers(connection, _ANSWERS.c.listener == listener_id, _ANSWERS.c.kind == _ROUTE_TABLE)
            return {name: row.digest for name, row in rows}

    def _answers(self, connection: Connection, *where: Any) -> Iterator[tuple[str, Row[Any]]]:
        query = select(_ANSWERS, _REPLICAS.c.host, _REPLICAS.c.envoys).join(
            _REPLICAS, _REPLICAS.c.id == _ANSWERS.c.replica
        )
        for row in connection.execute(query.where(is_living(connection), self._others(), *where)):
            if row.envoy in row.envoys:
                yield f"{row.host}/{row.envoy}", row

    def _others(self) -> Any:
        return _REPLICAS.c.id != self._record.id

    async def _write_names(self, names: tuple[str, ...]) -> None:
        for name in set(names) - set(self._record.envoys):
            self._ads.acks(name).changed.update(self._ads.acks(name).slots)
            self._refusals.pop(name, None)
            self._routes.pop(name, None)
        gone = set(self._record.envoys) - set(names)
        self._record.envoys = names
        await asyncio.to_thread(self._write, [], [(name, None, None) for name in gone])
        await asyncio.to_thread(self._record.write)

    def _changes(self, names: Iterable[str]) -> tuple[list[dict[str, Any]], list[tuple[str, str | None, str | None]]]:
        """Return the rows to write, and (Envoy, kind, name) of those to delete."""
        rows: list[dict[str, Any]] = []
        gone: list[tuple[str, str | None, str | None]] = []
        for name in names:
            acks = self._ads.acks(name)
            changed, acks.changed = acks.changed, set()
            for slot in changed:
                if status := acks.slots.get(slot):
                    rows.append(self._row(name, "", slot, status))
                else:
                    gone.append((name, "", slot))
            refusals, before = dict(acks.refusals), self._refusals.get(name, {})
            rows += [
                self._row(name, kind, resource, SlotStatus(digest="", error=error))
                for (kind, resource), error in refusals.items() - before.items()
            ]
            gone += [(name, kind, resource) for kind, resource in before.keys() - refusals.keys()]
            self._refusals[name] = refusals
            present, written = self._challenged(name), self._routes.get(name, {})
            rows += [
                self._row(name, _ROUTE_TABLE, listener, SlotStatus(digest=version))
                for listener, version in present.items() - written.items()
            ]
            gone += [(name, _ROUTE_TABLE, listener) for listener in written.keys() - present.keys()]
            self._routes[name] = present
        return rows, gone

    def _challenged(self, name: str) -> dict[str, str]:
        """Return the versions of the route tables that an Envoy accepted, of listeners with challenges."""
        challenges, versions = self._ads.snapshots.value.state.challenges, self._ads.acks(name).route_versions
        listeners = {listener for some in challenges.values() for one in some for listener in one.listener_ids}
        return {listener: versions[listener] for listener in listeners if listener in versions}

    def _row(self, envoy: str, kind: str, name: str, status: SlotStatus) -> dict[str, Any]:
        return {
            "replica": self._record.id,
            "envoy": envoy,
            "kind": kind,
            "name": name,
            "listener": name.partition("/")[0][:36],
            "digest": status.digest,
            "accepted": status.accepted,
            "error": status.error,
            "since": status.since,
        }

    def _write(self, rows: list[dict[str, Any]], gone: list[tuple[str, str | None, str | None]]) -> None:
        upsert = insert(_ANSWERS)
        new = {column: upsert.excluded[column] for column in ("digest", "accepted", "error", "since", "listener")}
        with self._record.engine.begin() as connection:
            for envoy, kind, name in gone:
                where = [_ANSWERS.c.replica == self._record.id, _ANSWERS.c.envoy == envoy]
                where += [] if kind is None else [_ANSWERS.c.kind == kind, _ANSWERS.c.name == name]
                connection.execute(delete(_ANSWERS).where(*where))
            if rows:
                connection.execute(
                    upsert.on_conflict_do_update(index_elements=list(_ANSWERS.primary_key), set_=new), rows
                )
