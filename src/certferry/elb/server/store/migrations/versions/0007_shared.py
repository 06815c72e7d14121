"""Tables that several ELBs on one database share: ELBs that run, encryption keys, failed logins, remote Envoys.

Frozen: it does not follow ``elb.schema``; a later change of the tables is a migration of its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "replicas",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("seen_at", sa.DateTime(), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("key_ids", sa.JSON(), nullable=False),
        sa.Column("envoys", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replicas")),
    )
    op.create_table(
        "envoy_answers",
        sa.Column("replica", sa.String(36), nullable=False),
        sa.Column("envoy", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(128), nullable=False),
        sa.Column("name", sa.String(512), nullable=False),
        sa.Column("listener", sa.String(36), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("accepted", sa.String(64), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("replica", "envoy", "kind", "name", name=op.f("pk_envoy_answers")),
    )
    op.create_index(op.f("ix_envoy_answers_listener"), "envoy_answers", ["listener"])
    op.create_table(
        "encryption_keys",
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("first_used", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_encryption_keys")),
    )
    op.create_table(
        "failed_logins",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("digest", sa.String(32), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_failed_logins")),
    )
    op.create_index(op.f("ix_failed_logins_digest"), "failed_logins", ["digest"])
    op.create_index(op.f("ix_failed_logins_at"), "failed_logins", ["at"])
    op.create_table(
        "remote_envoys",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("loadbalancers", sa.JSON(), nullable=False),
        sa.Column("not_after", sa.DateTime(), nullable=False),
        sa.Column("address", sa.String(45), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_remote_envoys")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_remote_envoys_fingerprint")),
    )
    op.create_table(
        "envoy_authority",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_envoy_authority")),
    )
