"""Marks of compromised keys.

Frozen: it does not follow ``elb.schema``; a later change of the tables is a migration of its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table: the usual form of a resource, with the public key."""
    op.create_table(
        "compromised_keys",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("spki", sa.String(length=64), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_compromised_keys_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_compromised_keys")),
        sa.UniqueConstraint("project_id", "spki", name=op.f("uq_compromised_keys_project_id")),
    )
    op.create_index(op.f("ix_compromised_keys_project_id"), "compromised_keys", ["project_id"], unique=False)
