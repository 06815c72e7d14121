from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from certferry.elb.server.store import audit
from certferry.elb.server.store.database import open_database


def test_a_store_of_the_first_release_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "elb.db"
    config = Config()
    config.set_main_option("script_location", "certferry.elb.server.store:migrations")
    older = create_engine(f"sqlite:///{path}")
    with older.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    older.dispose()
    with sqlite3.connect(path) as database:
        database.execute(
            "INSERT INTO audit (at, actor, role, request_id, project_id, action, kind, object_id, fields)"
            " VALUES ('2026-01-01 00:00:00.000000', 'mary', 'admin', 'r', 'p', 'delete', 'pool', 'p1', '[]')"
        )
    database.close()
    engine = open_database(path)
    try:
        (entry,) = audit.search(engine, audit.Search(project_id="p"))
    finally:
        engine.dispose()
    assert (entry.user, entry.verb, entry.name, entry.previous_fingerprint) == ("mary", "delete", "", None)
    with sqlite3.connect(path) as database, pytest.raises(sqlite3.DatabaseError, match="append-only"):
        database.execute("DELETE FROM audit")
    database.close()
