"""Issuers, orders and their secrets.

Frozen: it does not follow ``elb.schema``; a later change of the tables is a migration of its own.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create two tables of the usual form, and one of encrypted values."""
    _resource(
        "issuers",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_issuers_project_id")),
    )
    _resource(
        "orders",
        sa.Column("issuer_id", sa.String(length=36), nullable=False),
        sa.Column("names_key", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["issuer_id"], ["issuers.id"], name=op.f("fk_orders_issuer_id")),
        sa.UniqueConstraint("project_id", "names_key", name=op.f("uq_orders_project_id")),
    )
    op.create_index(op.f("ix_orders_issuer_id"), "orders", ["issuer_id"], unique=False)
    op.create_table(
        "acme_secrets",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("sealed_value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", "name", name=op.f("pk_acme_secrets")),
    )


def _resource(name: str, *columns: Any) -> None:
    op.create_table(
        name,
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        *columns,
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f(f"fk_{name}_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")),
    )
    op.create_index(op.f(f"ix_{name}_project_id"), name, ["project_id"], unique=False)
