"""The limits on logins of several ELBs that share a database."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, Engine, delete, func, insert, select

from certferry.elb.server.identity.auth import WIDER, login_keys, too_many_logins
from certferry.elb.server.store import schema
from certferry.elb.server.store.shared.replicas import database_time

_MINUTE: Final = timedelta(minutes=1)


class SharedLogins:
    """Counts failed logins of the last minute as ``Logins`` does, in the database and by its clock.

    An attempt is committed before it is counted, so that attempts at the same time at several ELBs count too.
    """

    def __init__(self, most: int, engine: Engine) -> None:
        self._most = most
        self._engine = engine

    def attempt(self, user: str, address: str) -> None:
        """Count an attempt. Raises ApiError (429) if there were too many."""
        pair, *wider = keys = [key.hex() for key in login_keys(user, address)]
        table = schema.failed_logins
        with self._engine.begin() as connection:
            now = database_time(connection)
            connection.execute(delete(table).where(table.c.at < now - _MINUTE))
            connection.execute(insert(table), [{"digest": key, "at": now} for key in keys])
        with self._engine.begin() as connection:
            query = select(table.c.digest, func.count()).where(table.c.digest.in_(keys)).group_by(table.c.digest)
            before = {digest: number - 1 for digest, number in connection.execute(query)}
            over = any(before.get(key, 0) >= self._most * WIDER for key in wider)
            refused = before.get(pair, 0) >= (1 if over else self._most)
            if refused:
                _remove_last(connection, keys)
        if refused:
            raise too_many_logins()

    def succeeded(self, user: str, address: str) -> None:
        """Forget the last attempt, because it succeeded."""
        with self._engine.begin() as connection:
            _remove_last(connection, [key.hex() for key in login_keys(user, address)])


def _remove_last(connection: Connection, keys: list[str]) -> None:
    table = schema.failed_logins
    for key in keys:
        last = select(func.max(table.c.id)).where(table.c.digest == key).scalar_subquery()
        connection.execute(delete(table).where(table.c.id == last))
