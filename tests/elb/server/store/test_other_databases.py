"""Another database may take SQLite's place: what is SQLite's alone stays in ``database.py``."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

import certferry.elb
from certferry.elb.server.store import schema
from certferry.elb.server.store.database import HEAD

PACKAGE = Path(certferry.elb.__file__).parent


def test_the_migrations_are_sql_for_postgresql_too() -> None:
    out = io.StringIO()
    config = Config(output_buffer=out)
    config.set_main_option("script_location", "certferry.elb.server.store:migrations")
    config.attributes["dialect_name"] = "postgresql"
    command.upgrade(config, HEAD, sql=True)
    written = out.getvalue()
    for table in schema.metadata.sorted_tables:
        assert f"CREATE TABLE {table.name} " in written
        assert str(CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert "BIGSERIAL" in written or "GENERATED" in written, "the audit log counts by itself there too"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_only_the_database_module_speaks_sqlite(path: Path) -> None:
    if path.name == "database.py":
        return
    tree = ast.parse(path.read_text())
    imported = {
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not [name for name in imported if "sqlite" in name]
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert "exec_driver_sql" not in called
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    assert not [text for text in texts if text.lstrip().upper().startswith(("PRAGMA", "VACUUM"))]
