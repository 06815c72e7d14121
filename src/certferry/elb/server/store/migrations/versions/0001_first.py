"""The first schema.

Frozen: it does not follow ``elb.schema``; a later change of the tables is a migration of its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("request_id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("object_id", sa.String(length=36), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"], unique=False)
    op.create_index(op.f("ix_audit_object_id"), "audit", ["object_id"], unique=False)
    op.create_table(
        "projects",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("domain", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.create_table(
        "certificates",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=True),
        sa.Column("source_cluster", sa.String(length=255), nullable=True),
        sa.Column("source_namespace", sa.String(length=255), nullable=True),
        sa.Column("source_secret", sa.String(length=255), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_certificates_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificates")),
    )
    op.create_index(op.f("ix_certificates_owner"), "certificates", ["owner"], unique=False)
    op.create_index(op.f("ix_certificates_project_id"), "certificates", ["project_id"], unique=False)
    op.create_table(
        "loadbalancers",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("vip_address", sa.String(length=45), nullable=False),
        sa.Column("port_shift", sa.Integer(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_loadbalancers_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_loadbalancers")),
        sa.UniqueConstraint("vip_address", "port_shift", name=op.f("uq_loadbalancers_vip_address")),
    )
    op.create_index(op.f("ix_loadbalancers_project_id"), "loadbalancers", ["project_id"], unique=False)
    op.create_table(
        "users",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("cluster", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_users_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
    )
    op.create_table(
        "certificate_versions",
        sa.Column("certificate_id", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("not_before", sa.DateTime(), nullable=False),
        sa.Column("not_after", sa.DateTime(), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=True),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["certificate_id"],
            ["certificates.id"],
            name=op.f("fk_certificate_versions_certificate_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("certificate_id", "version", name=op.f("pk_certificate_versions")),
    )
    op.create_table(
        "credentials",
        sa.Column("access_key", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_credentials_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("access_key", name=op.f("pk_credentials")),
    )
    op.create_index(op.f("ix_credentials_user_id"), "credentials", ["user_id"], unique=False)
    op.create_table(
        "pools",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("loadbalancer_id", sa.String(length=36), nullable=True),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["loadbalancer_id"], ["loadbalancers.id"], name=op.f("fk_pools_loadbalancer_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_pools_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pools")),
    )
    op.create_index(op.f("ix_pools_loadbalancer_id"), "pools", ["loadbalancer_id"], unique=False)
    op.create_index(op.f("ix_pools_project_id"), "pools", ["project_id"], unique=False)
    op.create_table(
        "tokens",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("issued_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_tokens_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_tokens")),
    )
    op.create_index(op.f("ix_tokens_expires_at"), "tokens", ["expires_at"], unique=False)
    op.create_index(op.f("ix_tokens_user_id"), "tokens", ["user_id"], unique=False)
    op.create_table(
        "healthmonitors",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("pool_id", sa.String(length=36), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_healthmonitors_pool_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_healthmonitors_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_healthmonitors")),
        sa.UniqueConstraint("pool_id", name=op.f("uq_healthmonitors_pool_id")),
    )
    op.create_index(op.f("ix_healthmonitors_project_id"), "healthmonitors", ["project_id"], unique=False)
    op.create_table(
        "listeners",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("loadbalancer_id", sa.String(length=36), nullable=False),
        sa.Column("transport", sa.String(length=3), nullable=False),
        sa.Column("protocol_port", sa.Integer(), nullable=False),
        sa.Column("default_pool_id", sa.String(length=36), nullable=True),
        sa.Column("default_tls_container_ref", sa.String(length=36), nullable=True),
        sa.Column("client_ca_tls_container_ref", sa.String(length=36), nullable=True),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_ca_tls_container_ref"], ["certificates.id"], name=op.f("fk_listeners_client_ca_tls_container_ref")
        ),
        sa.ForeignKeyConstraint(["default_pool_id"], ["pools.id"], name=op.f("fk_listeners_default_pool_id")),
        sa.ForeignKeyConstraint(
            ["default_tls_container_ref"], ["certificates.id"], name=op.f("fk_listeners_default_tls_container_ref")
        ),
        sa.ForeignKeyConstraint(["loadbalancer_id"], ["loadbalancers.id"], name=op.f("fk_listeners_loadbalancer_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_listeners_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_listeners")),
        sa.UniqueConstraint("loadbalancer_id", "transport", "protocol_port", name=op.f("uq_listeners_loadbalancer_id")),
    )
    op.create_index(
        op.f("ix_listeners_client_ca_tls_container_ref"), "listeners", ["client_ca_tls_container_ref"], unique=False
    )
    op.create_index(op.f("ix_listeners_default_pool_id"), "listeners", ["default_pool_id"], unique=False)
    op.create_index(
        op.f("ix_listeners_default_tls_container_ref"), "listeners", ["default_tls_container_ref"], unique=False
    )
    op.create_index(op.f("ix_listeners_loadbalancer_id"), "listeners", ["loadbalancer_id"], unique=False)
    op.create_index(op.f("ix_listeners_project_id"), "listeners", ["project_id"], unique=False)
    op.create_table(
        "members",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("pool_id", sa.String(length=36), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=False),
        sa.Column("protocol_port", sa.Integer(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_members_pool_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_members_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_members")),
        sa.UniqueConstraint("pool_id", "address", "protocol_port", name=op.f("uq_members_pool_id")),
    )
    op.create_index(op.f("ix_members_pool_id"), "members", ["pool_id"], unique=False)
    op.create_index(op.f("ix_members_project_id"), "members", ["project_id"], unique=False)
    op.create_table(
        "l7policies",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("listener_id", sa.String(length=36), nullable=False),
        sa.Column("redirect_pool_id", sa.String(length=36), nullable=True),
        sa.Column("redirect_listener_id", sa.String(length=36), nullable=True),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["listener_id"], ["listeners.id"], name=op.f("fk_l7policies_listener_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_l7policies_project_id")),
        sa.ForeignKeyConstraint(
            ["redirect_listener_id"], ["listeners.id"], name=op.f("fk_l7policies_redirect_listener_id")
        ),
        sa.ForeignKeyConstraint(["redirect_pool_id"], ["pools.id"], name=op.f("fk_l7policies_redirect_pool_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_l7policies")),
    )
    op.create_index(op.f("ix_l7policies_listener_id"), "l7policies", ["listener_id"], unique=False)
    op.create_index(op.f("ix_l7policies_project_id"), "l7policies", ["project_id"], unique=False)
    op.create_index(op.f("ix_l7policies_redirect_listener_id"), "l7policies", ["redirect_listener_id"], unique=False)
    op.create_index(op.f("ix_l7policies_redirect_pool_id"), "l7policies", ["redirect_pool_id"], unique=False)
    op.create_table(
        "rules",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("l7policy_id", sa.String(length=36), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["l7policy_id"], ["l7policies.id"], name=op.f("fk_rules_l7policy_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_rules_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rules")),
    )
    op.create_index(op.f("ix_rules_l7policy_id"), "rules", ["l7policy_id"], unique=False)
    op.create_index(op.f("ix_rules_project_id"), "rules", ["project_id"], unique=False)
