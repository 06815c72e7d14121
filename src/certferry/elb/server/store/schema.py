"""The tables of the ELB's store.

One table per resource: typed columns for identities, references and constrained fields, and ``data`` (JSON) for the
other wire fields, so that a further field needs no migration. Nothing here is specific to SQLite.

No column contains a plain private key or secret key: they are encrypted in ``sealed_*`` columns.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, also in a database that forgets zones."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a value for the database."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a value from the database."""
        return None if value is None else value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _resource(name: str, *columns: Any) -> Table:
    """Define a resource table; `columns` are the wire fields that have their own column."""
    return Table(
        name,
        metadata,
        Column("id", String(36), primary_key=True),
        Column("project_id", String(36), ForeignKey("projects.id"), nullable=False, index=True),
        *columns,
        Column("data", JSON, nullable=False),
        Column("created_at", Instant, nullable=False),
        Column("updated_at", Instant, nullable=False),
        Column("revision", Integer, nullable=False),
    )


def _reference(name: str, target: str, *, required: bool = False, unique: bool = False) -> Column[Any]:
    return Column(name, String(36), ForeignKey(f"{target}.id"), nullable=not required, index=not unique, unique=unique)


projects = Table(
    "projects",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("domain", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("password_hash", Text, nullable=True),
    Column("role", String(16), nullable=False),
    Column("project_id", String(36), ForeignKey("projects.id"), nullable=False),
    Column("cluster", String(255), nullable=True),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Index("uq_users_cluster", "cluster", unique=True),  # one controller a cluster: it is who owns
)

credentials = Table(
    "credentials",
    metadata,
    Column("access_key", String(32), primary_key=True),
    Column("user_id", String(36), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("sealed_secret", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("user_id", String(36), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("issued_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False, index=True),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False, index=True),
    Column("actor", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("request_id", String(36), nullable=False),
    Column("project_id", String(36), nullable=False),
    Column("action", String(16), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("object_id", String(36), nullable=False, index=True),
    Column("fields", JSON, nullable=False),
    Column("fingerprint", String(64), nullable=True),
    Column("name", String(255), nullable=True),
    Column("previous_fingerprint", String(64), nullable=True),
    Column("reason", Text, nullable=True),
)
"""Append-only, except that ``audit.prune`` deletes the oldest rows. The id is the sequence of the event stream."""

audit_names = Table(
    "audit_names",
    metadata,
    Column(
        "audit_id",
        BigInteger().with_variant(Integer, "sqlite"),
        ForeignKey("audit.id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("name", String(255), primary_key=True, index=True),
)
"""The host names of the certificate that an audit record is about."""

loadbalancers = _resource(
    "loadbalancers",
    Column("vip_address", String(45), nullable=False),
    Column("port_shift", Integer, nullable=False),
    UniqueConstraint("vip_address", "port_shift"),
)

certificates = _resource(
    "certificates",
    Column("type", String(16), nullable=False),
    Column("owner", String(255), nullable=True, index=True),
    Column("source_cluster", String(255), nullable=True),
    Column("source_namespace", String(255), nullable=True),
    Column("source_secret", String(255), nullable=True),
    Column("version", Integer, nullable=False),
)
"""The content is in ``certificate_versions`` under ``version``."""

certificate_versions = Table(
    "certificate_versions",
    metadata,
    Column("certificate_id", String(36), ForeignKey("certificates.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("not_before", Instant, nullable=False),
    Column("not_after", Instant, nullable=False),
    Column("certificate", Text, nullable=False),
    Column("sealed_key", LargeBinary, nullable=True),
    Column("actor", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("via", String(16), nullable=True),
    Column("request_id", String(36), nullable=True),
)

pools = _resource("pools", _reference("loadbalancer_id", "loadbalancers"))

listeners = _resource(
    "listeners",
    _reference("loadbalancer_id", "loadbalancers", required=True),
    Column("transport", String(3), nullable=False),
    Column("protocol_port", Integer, nullable=False),
    _reference("default_pool_id", "pools"),
    _reference("default_tls_container_ref", "certificates"),
    _reference("client_ca_tls_container_ref", "certificates"),
    UniqueConstraint("loadbalancer_id", "transport", "protocol_port"),
)

members = _resource(
    "members",
    _reference("pool_id", "pools", required=True),
    Column("address", String(45), nullable=False),
    Column("protocol_port", Integer, nullable=False),
    UniqueConstraint("pool_id", "address", "protocol_port"),
)

healthmonitors = _resource("healthmonitors", _reference("pool_id", "pools", required=True, unique=True))

l7policies = _resource(
    "l7policies",
    _reference("listener_id", "listeners", required=True),
    _reference("redirect_pool_id", "pools"),
    _reference("redirect_listener_id", "listeners"),
)

ipgroups = _resource("ipgroups")

security_policies = _resource("security_policies")

project_settings = _resource("project_settings")
"""Choices of a project's users: at most one row per project, with the project's id."""

compromised_keys = _resource(
    "compromised_keys", Column("spki", String(64), nullable=False), UniqueConstraint("project_id", "spki")
)
"""Public keys (SHA-256 of the SubjectPublicKeyInfo) whose private keys are in the wrong hands."""

issuers = _resource("issuers", Column("name", String(64), nullable=False), UniqueConstraint("project_id", "name"))
"""ACME accounts at CAs. Their secrets are in ``acme_secrets``."""

orders = _resource(
    "orders",
    _reference("issuer_id", "issuers", required=True),
    Column("names_key", String(64), nullable=False),
    UniqueConstraint("project_id", "names_key"),
)
"""Standing orders for certificates: one for each set of names (SHA-256 of the sorted names)."""

acme_secrets = Table(
    "acme_secrets",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(16), primary_key=True),
    Column("sealed_value", LargeBinary, nullable=False),
)
"""Secrets of issuers and of orders under way, by the id of their row and their name (``acme.model``)."""

rules = _resource("rules", _reference("l7policy_id", "l7policies", required=True))

head = Table(
    "head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("instant", Instant, nullable=False),
)
"""The last committed change, in one row (see ``head``)."""

bulk_answers = Table(
    "bulk_answers",
    metadata,
    Column("project_id", String(36), ForeignKey("projects.id"), primary_key=True),
    Column("user_id", String(36), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("items", JSON, nullable=False),
    Column("created_at", Instant, nullable=False, index=True),
)
"""Answers to bulk calls with a key, for a day."""

replicas = Table(
    "replicas",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("key_id", String(16), nullable=False),
    Column("key_ids", JSON, nullable=False),
    Column("envoys", JSON, nullable=False),
)
"""The ELBs that run on the database. Of its encryption keys, ``key_id`` encrypts, and all ``key_ids`` decrypt. ``envoys``
are the names of those that are connected to it."""

envoy_answers = Table(
    "envoy_answers",
    metadata,
    Column("replica", String(36), primary_key=True),
    Column("envoy", String(255), primary_key=True),
    Column("kind", String(128), primary_key=True),
    Column("name", String(512), primary_key=True),
    Column("listener", String(36), nullable=False, index=True),
    Column("digest", String(64), nullable=False),
    Column("accepted", String(64)),
    Column("error", Text, nullable=False),
    Column("since", Instant),
)
"""The last answer of each connected Envoy: ``kind`` is empty for a slot, else the type URL of a rejected resource."""

encryption_keys = Table(
    "encryption_keys",
    metadata,
    Column("key_id", String(16), primary_key=True),
    Column("first_used", Instant, nullable=False),
)
"""Ids of the keys that have encrypted since the database is shared."""

failed_logins = Table(
    "failed_logins",
    metadata,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("digest", String(32), nullable=False, index=True),
    Column("at", Instant, nullable=False, index=True),
)
"""Attempts of the last minute to log in, by digests of user and address (shared databases only)."""

remote_envoys = Table(
    "remote_envoys",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False, unique=True),
    Column("loadbalancers", JSON, nullable=False),
    Column("not_after", Instant, nullable=False),
    Column("address", String(45), nullable=False),
)
"""The registered Envoys of other machines."""

envoy_authority = Table(
    "envoy_authority",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("certificate", Text, nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),
)
"""The CA of the connection to them, in one row."""

RESOURCES: Final[dict[str, Table]] = {
    "project_setting": project_settings,
    "compromised_key": compromised_keys,
    "ipgroup": ipgroups,
    "security_policy": security_policies,
    "loadbalancer": loadbalancers,
    "certificate": certificates,
    "pool": pools,
    "listener": listeners,
    "member": members,
    "healthmonitor": healthmonitors,
    "l7policy": l7policies,
    "rule": rules,
    "issuer": issuers,
    "order": orders,
}
"""By kind (the wire's singular), referred-to before referring."""
