"""Alembic's entry point: runs the migrations on the connection that ``store.database`` passes.

Without one it writes them as SQL of another database (``dialect_name``), for a move to that database.
"""

from __future__ import annotations

from alembic import context

from certferry.elb.server.store.schema import metadata

given = context.config.attributes
if "connection" in given:
    context.configure(connection=given["connection"], target_metadata=metadata, render_as_batch=True)
else:
    context.configure(
        dialect_name=given["dialect_name"], target_metadata=metadata, transactional_ddl=True, literal_binds=True
    )
with context.begin_transaction():
    context.run_migrations()
