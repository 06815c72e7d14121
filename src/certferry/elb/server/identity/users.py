"""Projects, users, their access keys and tokens.

Each request is authenticated from the database, so that a revocation by any process is effective at once. Passwords
are stored as argon2 hashes, tokens as SHA-256, secret keys encrypted.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, Engine, Row, Select, bindparam, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from certferry.elb.server.actor import ROLES, Actor
from certferry.elb.server.store import schema
from certferry.elb.server.store.database import reading
from certferry.elb.server.store.key_rotation import secret_purpose
from certferry.runtime.encryption import EncryptionKeys

DOMAIN: Final = "Default"
_TOKENS: Final = 1000
"""Valid tokens of one user."""


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project: the owner of resources."""

    id: str
    name: str
    domain: str


class AccessKey(msgspec.Struct, frozen=True, kw_only=True):
    """A pair for signed requests."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return f"AccessKey({self.access_key}, ***)"


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A token's user, project and time."""

    actor: Actor
    project: Project
    issued_at: datetime
    expires_at: datetime


class Identity:
    """The users of one store."""

    def __init__(
        self, engine: Engine, encryption: EncryptionKeys, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._engine = engine
        self._reading = reading(engine)
        self._encryption = encryption
        self._clock = clock
        self._hasher = PasswordHasher(parallelism=1)  # one hash, one core: see HashingTurns
        self._decoy = self._hasher.hash(secrets.token_hex())
        self._asking: Connection | None = None
        self._turn = threading.Lock()

    def close(self) -> None:
        """Close the database connection."""
        if self._asking is not None:
            self._asking.close()
            self._asking = None

    def ensure_project(self, name: str, domain: str = DOMAIN) -> Project:
        """Return the project of that name, and create it if absent."""
        with self._engine.begin() as connection:
            table = schema.projects
            row = connection.execute(select(table).where(table.c.name == name)).first()
            if row is not None:
                return Project(id=row.id, name=row.name, domain=row.domain)
            project = Project(id=uuid.uuid4().hex, name=name, domain=domain)
            connection.execute(insert(table), {**msgspec.structs.asdict(project), "created_at": self._clock()})
            return project

    def ensure_user(
        self, name: str, *, role: str, project: Project, password: str | None = None, cluster: str | None = None
    ) -> str:
        """Create or update the user and return its id; without `password` the present one stays."""
        assert role in ROLES
        table, now = schema.users, self._clock()
        wanted: dict[str, Any] = {"role": role, "project_id": project.id, "cluster": cluster}
        with self._engine.begin() as connection:
            row = connection.execute(select(table).where(table.c.name == name)).first()
            same_password = row is not None and password is not None and self._matches(row.password_hash, password)
            if password is not None and not same_password:
                wanted["password_hash"] = self._hasher.hash(password)
            if row is None:
                new = {"id": uuid.uuid4().hex, "name": name, "created_at": now, "updated_at": now}
                connection.execute(insert(table), {"password_hash": None} | wanted | new)
                return new["id"]  # type: ignore[return-value]
            if any(getattr(row, field) != value for field, value in wanted.items()):
                connection.execute(update(table).where(table.c.id == row.id), {**wanted, "updated_at": now})
            return str(row.id)

    def ensure_access_key(self, user_id: str) -> AccessKey:
        """Return the user's oldest access key, and create one if absent."""
        table = schema.credentials
        with self._engine.begin() as connection:
            row = connection.execute(
                select(table).where(table.c.user_id == user_id).order_by(table.c.created_at)
            ).first()
            if row is not None:
                return AccessKey(access_key=row.access_key, secret_key=self._secret(row))
            return new_pair(connection, self._encryption, user_id, self._clock())

    def hashed(self, password: str) -> str:
        """Return the hash to store for a password."""
        return self._hasher.hash(password)

    def by_access_key(self, access_key: str) -> tuple[Actor, str] | None:
        """Return the user with this key and its secret key."""
        row = self._first(_BY_KEY, {"key": access_key})
        return (_actor(row), self._secret(row)) if row is not None else None

    def by_password(self, name: str, password: str) -> Actor | None:
        """Return the user if the password is right; takes as long for an unknown user."""
        with self._reading.connect() as connection:
            row = connection.execute(_USERS.where(schema.users.c.name == name)).first()
        usable = row is not None and row.password_hash is not None
        matches = self._matches(row.password_hash if row is not None and usable else self._decoy, password)
        return _actor(row) if row is not None and usable and matches else None

    def still(self, actor: Actor) -> bool:
        """Return True if the user still exists, with this role, in this project."""
        with self._reading.connect() as connection:
            row = connection.execute(_USERS.where(schema.users.c.id == actor.user_id)).first()
        return row is not None and _actor(row) == actor

    def name_of(self, user_id: str) -> str | None:
        """Return the name of the user with this id."""
        with self._reading.connect() as connection:
            row = connection.execute(_USERS.where(schema.users.c.id == user_id)).first()
        return None if row is None else str(row.name)

    def issue(self, actor: Actor, lifetime: timedelta) -> tuple[str, Session]:
        """Issue a token and return it with its session; expired tokens are deleted, and the user's oldest beyond 1000."""
        token, now = secrets.token_urlsafe(32), self._clock()
        with self._engine.begin() as connection:
            connection.execute(delete(schema.tokens).where(schema.tokens.c.expires_at < now))
            connection.execute(
                insert(schema.tokens),
                {"hash": _hash(token), "user_id": actor.user_id, "issued_at": now, "expires_at": now + lifetime},
            )
            surplus = select(schema.tokens.c.hash).where(schema.tokens.c.user_id == actor.user_id)
            surplus = surplus.order_by(schema.tokens.c.issued_at.desc()).offset(_TOKENS)
            connection.execute(delete(schema.tokens).where(schema.tokens.c.hash.in_(surplus)))
        session = Session(actor=actor, project=self.project(actor), issued_at=now, expires_at=now + lifetime)
        return token, session

    def by_token(self, token: str) -> Session | None:
        """Return the session of a token; None if unknown or expired."""
        row = self._first(_BY_TOKEN, {"hash": _hash(token)})
        if row is None or row.expires_at <= self._clock():
            return None
        project = Project(id=row.project_id, name=row.project_name, domain=row.domain)
        return Session(actor=_actor(row), project=project, issued_at=row.issued_at, expires_at=row.expires_at)

    def of_project(self, project_id: str) -> list[Actor]:
        """Return all users of the project by name."""
        query = _USERS.where(schema.users.c.project_id == project_id).order_by(schema.users.c.name)
        with self._reading.connect() as connection:
            return [_actor(row) for row in connection.execute(query)]

    def revoke(self, token: str) -> None:
        """Revoke a token."""
        with self._engine.begin() as connection:
            connection.execute(delete(schema.tokens).where(schema.tokens.c.hash == _hash(token)))

    def project(self, actor: Actor) -> Project:
        """Return the project of `actor`."""
        with self._reading.connect() as connection:
            table = schema.projects
            row = connection.execute(select(table).where(table.c.id == actor.project_id)).one()
        return Project(id=row.id, name=row.name, domain=row.domain)

    def _first(self, query: Select[Any], parameters: dict[str, str]) -> Row[Any] | None:
        """Run `query` on one open connection, because opening one takes three times as long as the query."""
        with self._turn:
            for last in (False, True):
                if self._asking is None:
                    self._asking = self._reading.connect()
                try:
                    return self._asking.execute(query, parameters).first()
                except SQLAlchemyError as error:
                    self.close()
                    if last or not getattr(error, "connection_invalidated", False):
                        raise
            raise AssertionError("unreachable")

    def _matches(self, stored: str | None, password: str) -> bool:
        try:
            return stored is not None and self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def _secret(self, row: Row[Any]) -> str:
        return self._encryption.decrypt(row.sealed_secret, secret_purpose(row.access_key)).decode()


def new_pair(connection: Connection, encryption: EncryptionKeys, user_id: str, now: datetime) -> AccessKey:
    """Create an access key of the user; the secret half is stored encrypted."""
    pair = AccessKey(access_key=secrets.token_hex(10).upper(), secret_key=secrets.token_urlsafe(30))
    encrypted = encryption.encrypt(pair.secret_key.encode(), secret_purpose(pair.access_key))
    row = {"access_key": pair.access_key, "user_id": user_id, "sealed_secret": encrypted, "created_at": now}
    connection.execute(insert(schema.credentials), row)
    return pair


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _actor(row: Row[Any]) -> Actor:
    return Actor(user_id=row.id, name=row.name, role=row.role, project_id=row.project_id, cluster=row.cluster)


def _of_users(*more: Any) -> Select[Any]:
    users = schema.users
    return select(users.c.id, users.c.name, users.c.role, users.c.project_id, users.c.cluster, *more)


_USERS: Final = _of_users(schema.users.c.password_hash)
_BY_KEY: Final = (
    _of_users(schema.credentials.c.access_key, schema.credentials.c.sealed_secret)
    .join(schema.credentials, schema.credentials.c.user_id == schema.users.c.id)
    .where(schema.credentials.c.access_key == bindparam("key"))
)
_BY_TOKEN: Final = (
    _of_users(
        schema.tokens.c.issued_at,
        schema.tokens.c.expires_at,
        schema.projects.c.name.label("project_name"),
        schema.projects.c.domain,
    )
    .join(schema.tokens, schema.tokens.c.user_id == schema.users.c.id)
    .join(schema.projects, schema.projects.c.id == schema.users.c.project_id)
    .where(schema.tokens.c.hash == bindparam("hash"))
)
