"""The history of contents, and an audit log that can be searched by certificate and by host."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade to this revision."""
    op.add_column("certificate_versions", sa.Column("via", sa.String(length=16), nullable=True))
    op.add_column("certificate_versions", sa.Column("request_id", sa.String(length=36), nullable=True))
    op.add_column("audit", sa.Column("name", sa.String(length=255), nullable=True))
    op.add_column("audit", sa.Column("previous_fingerprint", sa.String(length=64), nullable=True))
    op.add_column("audit", sa.Column("reason", sa.Text(), nullable=True))
    op.create_table(
        "audit_names",
        sa.Column("audit_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(["audit_id"], ["audit.id"], name=op.f("fk_audit_names_audit_id")),
        sa.PrimaryKeyConstraint("audit_id", "name", name=op.f("pk_audit_names")),
    )
    op.create_index(op.f("ix_audit_names_name"), "audit_names", ["name"], unique=False)


def downgrade() -> None:
    """Reject the downgrade: restore a backup."""
    raise NotImplementedError
