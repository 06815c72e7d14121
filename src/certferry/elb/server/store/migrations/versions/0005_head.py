"""The head: the order of commits of several processes.

Frozen: it does not follow ``elb.schema``; a later change of the tables is a migration of its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and its one row."""
    op.create_table(
        "head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("instant", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_head")),
    )
    op.execute(
        "INSERT INTO head (id, sequence, instant) "
        "SELECT 1, COALESCE(MAX(id), 0), COALESCE(MAX(at), '1970-01-01 00:00:00') FROM audit"
    )
