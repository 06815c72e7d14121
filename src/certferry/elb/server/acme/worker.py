"""Works through all orders: the loop that calls ``Attempts.step`` when a step is due.

Steps wait for CAs, so that each runs in a thread of its own: a slow CA delays no other order of another CA.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from certferry.elb.server.acme.attempt import Attempts
from certferry.elb.server.acme.model import order_of
from certferry.elb.server.acme.schedule import next_look
from certferry.elb.server.store.store import Store
from certferry.elb.server.store.tables import Row
from certferry.runtime.latest import Latest

_log = structlog.get_logger("certferry.elb")
_AT_ONCE: Final = 8
"""Steps at the same time, over all CAs; half of them for one CA."""
_IDLE: Final = 60.0
"""Longest pause: a wall clock may jump."""
_BROKEN: Final = 60.0
"""Seconds until an order is tried again after a defect of ours."""


class OrderWorker:
    """Runs the due steps of all orders until cancelled. `commits` changes with each commit of the store."""

    def __init__(self, store: Store, attempts: Attempts, commits: Latest[Any]) -> None:
        self._store = store
        self._attempts = attempts
        self._commits = commits
        self._running: dict[str, str] = {}
        """Orders whose step is under way, and their issuers."""
        self._waits: dict[str, tuple[int, datetime]] = {}
        """Until when an order waits in this revision."""
        self._looks: dict[str, datetime] = {}
        """When to read renewalInfo again."""
        self._wake = asyncio.Event()
        self._seen: object = None

    async def run(self) -> None:
        """Work until cancelled."""
        tasks: set[asyncio.Task[None]] = set()
        with self._commits.on_change(self._notice):
            try:
                while True:
                    self._wake.clear()
                    self._seen = self._store.snapshot.rows("order")
                    now = self._store.now()
                    pause = _IDLE
                    for at, act, row in self._due(now):
                        wait = (at - now).total_seconds()
                        if wait > 0 or not self._admitted(row):
                            pause = min(pause, wait) if wait > 0 else pause
                            continue
                        self._running[row.id] = str(row.data["issuer_id"])
                        tasks.add(task := asyncio.create_task(self._take(row, act)))
                        task.add_done_callback(tasks.discard)
                    try:
                        async with asyncio.timeout(pause):
                            await self._wake.wait()
                    except TimeoutError:
                        pass
            finally:
                for task in tasks:
                    task.cancel()

    def _due(self, now: datetime) -> Iterator[tuple[datetime, Callable[[Row], float], Row]]:
        """Yield the next act of each order that is not under way, and when it is due; the earliest first."""
        acts = []
        for row in self._store.snapshot.rows("order").values():
            if row.id in self._running:
                continue
            at = self._attempts.due(row)
            revision, until = self._waits.get(row.id, (0, at))
            if revision == row.revision:
                at = max(at, until)
            look = self._looks.get(row.id, now)
            if at > now and look < at and order_of(row).certificate_id and not order_of(row).failures:
                acts.append((look, self._look, row))
            else:
                acts.append((at, self._attempts.step, row))
        yield from sorted(acts, key=lambda act: act[0])

    def _notice(self) -> None:
        """Wake the loop after a commit that changed an order."""
        if self._store.snapshot.rows("order") is not self._seen:
            self._wake.set()

    def _look(self, row: Row) -> float:
        self._looks[row.id] = next_look(self._store.now(), None)  # also if it fails
        self._looks[row.id] = self._attempts.look(row)
        return 0

    def _admitted(self, row: Row) -> bool:
        at_same = list(self._running.values()).count(str(row.data["issuer_id"]))
        return len(self._running) < _AT_ONCE and at_same < _AT_ONCE // 2

    async def _take(self, row: Row, act: Callable[[Row], float]) -> None:
        try:
            seconds = await _in_thread(act, row)
        except asyncio.CancelledError:
            raise
        except Exception:  # noqa: BLE001 (one order must not stop the others)
            _log.exception("order not worked", id=row.id)
            seconds = _BROKEN
        finally:
            self._running.pop(row.id, None)
            self._wake.set()
        if seconds:
            self._waits[row.id] = (row.revision, self._store.now() + timedelta(seconds=seconds))


async def _in_thread(act: Callable[[Row], float], row: Row) -> float:
    """Call `act` in a daemon thread: the end of the process does not wait for a CA."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[float] = loop.create_future()

    def conclude(outcome: float | BaseException) -> None:
        if not future.done():
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def work() -> None:
        outcome: float | BaseException
        try:
            outcome = act(row)
        except Exception as error:  # noqa: BLE001 (handed to the waiting task)
            outcome = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(conclude, outcome)

    threading.Thread(target=work, name="acme", daemon=True).start()
    return await future
