"""Changes to the users of a store by its operator.

A running ELB reads the same database on each request, so that changes are effective at once. Each change is in the
audit log as a change by the operator.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from certferry.elb.server.actor import ROLES
from certferry.elb.server.identity.users import AccessKey, Identity, new_pair
from certferry.elb.server.keys import encryption_keys
from certferry.elb.server.paths import database, prepared, store_file
from certferry.elb.server.store import schema
from certferry.elb.server.store.database import SchemaTooNew, StoreUnusable, open_database
from certferry.elb.server.store.shared import head
from certferry.runtime.encryption import EncryptionError, EncryptionKeys
from certferry.settings import EXIT_NEWER_STATE, ElbSettings, UserError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_OPERATOR: Final = "operator"
SHORTEST: Final = 8
"""Characters of a password."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user, without anything secret."""

    name: str
    role: str
    project: str
    project_id: str
    cluster: str | None
    password: bool
    """True if the user can log in with a password."""
    access_keys: tuple[str, ...]


class Directory:
    """The users of one store. An impossible change raises ``UserError``."""

    def __init__(
        self,
        engine: Engine,
        encryption: EncryptionKeys,
        identity: Identity,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.engine = engine
        self.encryption = encryption
        self._identity = identity
        self._clock = clock

    def users(self) -> list[User]:
        """Return all users by name."""
        with self.engine.connect() as connection:
            keys: dict[str, list[str]] = {}
            for credential in connection.execute(select(schema.credentials).order_by(schema.credentials.c.created_at)):
                keys.setdefault(credential.user_id, []).append(credential.access_key)
            rows = connection.execute(
                select(schema.users, schema.projects.c.name.label("project"))
                .join(schema.projects)
                .order_by(schema.users.c.name)
            ).all()
        return [_user(row, tuple(keys.get(row.id, ()))) for row in rows]

    def add(self, name: str, *, role: str, project: str, password: str | None, cluster: str | None = None) -> User:
        """Create a user."""
        if not _NAME.fullmatch(name):
            raise UserError(
                f"“{name}” is no user name: up to 64 letters, digits and . _ @ + -, a letter or digit first."
            )
        _check_role(role, cluster)
        with self._writing() as connection:
            if self._find(connection, name) is not None:
                raise UserError(f"There is a user {name} already.")
        home = self._identity.ensure_project(project)
        try:
            identifier = self._identity.ensure_user(
                name, role=role, project=home, password=password and _long_enough(password), cluster=cluster
            )
        except IntegrityError:
            raise UserError(
                f"Cluster {cluster} has a controller already: each cluster has one, because a controller owns what it writes."
            ) from None
        with self._writing() as connection:
            self._note(connection, "create", identifier, home.id, name, ["role", "password"])
        return self.user(name)

    def user(self, name: str) -> User:
        """Return one user."""
        row = next((user for user in self.users() if user.name == name), None)
        if row is None:
            raise UserError(f"There is no user {name}; `certferry user ls` shows all.")
        return row

    def set_password(self, name: str, password: str) -> None:
        """Set a password and revoke the tokens issued before."""
        hashed = self._identity.hashed(_long_enough(password))
        with self._writing() as connection:
            row = self._the(connection, name)
            self._change(connection, row, "password", password_hash=hashed)
            connection.execute(delete(schema.tokens).where(schema.tokens.c.user_id == row.id))

    def set_role(self, name: str, role: str, cluster: str | None = None) -> None:
        """Set a role, effective from the next request on."""
        _check_role(role, cluster)
        try:
            with self._writing() as connection:
                self._change(connection, self._the(connection, name), "role", role=role, cluster=cluster)
        except IntegrityError:
            raise UserError(f"Cluster {cluster} has a controller already.") from None

    def add_key(self, name: str) -> AccessKey:
        """Create another access key; its secret is shown only once."""
        with self._writing() as connection:
            row = self._the(connection, name)
            pair = new_pair(connection, self.encryption, row.id, self._clock())
            self._note(connection, "update", row.id, row.project_id, name, ["access_keys"])
        return pair

    def revoke_key(self, name: str, access_key: str) -> None:
        """Delete an access key."""
        table = schema.credentials
        with self._writing() as connection:
            row = self._the(connection, name)
            gone = delete(table).where(table.c.user_id == row.id, table.c.access_key == access_key)
            if connection.execute(gone).rowcount != 1:
                raise UserError(f"User {name} has no access key {access_key}.")
            self._note(connection, "update", row.id, row.project_id, name, ["access_keys"])

    def remove(self, name: str) -> None:
        """Delete a user with its keys and tokens; a controller's certificates stay owned by its cluster."""
        with self._writing() as connection:
            row = self._the(connection, name)
            connection.execute(delete(schema.users).where(schema.users.c.id == row.id))
            self._note(connection, "delete", row.id, row.project_id, name, [])

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with self.engine.begin() as connection:
                head.lock(connection)
                yield connection
                head.advance(connection, self._clock())
        except OperationalError as error:
            raise UserError(f"The store cannot be written: {error.orig}.", code=1) from None

    def _find(self, connection: Connection, name: str) -> Row[Any] | None:
        return connection.execute(select(schema.users).where(schema.users.c.name == name)).first()

    def _the(self, connection: Connection, name: str) -> Row[Any]:
        row = self._find(connection, name)
        if row is None:
            raise UserError(f"There is no user {name}; `certferry user ls` shows all.")
        return row

    def _change(self, connection: Connection, row: Row[Any], what: str, **fields: Any) -> None:
        connection.execute(
            update(schema.users).where(schema.users.c.id == row.id).values(**fields, updated_at=self._clock())
        )
        self._note(connection, "update", row.id, row.project_id, row.name, [what])

    def _note(
        self, connection: Connection, action: str, user_id: str, project_id: str, name: str, fields: list[str]
    ) -> None:
        connection.execute(
            insert(schema.audit),
            {
                "at": self._clock(),
                "actor": _OPERATOR,
                "role": _OPERATOR,
                "request_id": uuid.uuid4().hex,
                "project_id": project_id,
                "action": action,
                "kind": "user",
                "object_id": user_id,
                "fields": [*fields, name],
                "fingerprint": None,
            },
        )


@contextmanager
def opened(settings: ElbSettings, *, new: bool = False) -> Iterator[Directory]:
    """Open the users of the ELB with these settings, which may be running. `new`: create the store if absent."""
    state = settings.state.expanduser().absolute()
    if not new and not settings.database and not store_file(state).exists():
        raise UserError(f"No ELB keeps its state in {state}: name the right --state.")
    engine = None
    try:
        state = prepared(settings)
        encryption = encryption_keys(settings, create=True)
        engine = open_database(database(settings, state))
        yield Directory(engine, encryption, Identity(engine, encryption))
    except SchemaTooNew as reason:
        raise UserError(str(reason), EXIT_NEWER_STATE) from None
    except (StoreUnusable, EncryptionError) as reason:
        raise UserError(str(reason)) from None
    finally:
        if engine is not None:
            engine.dispose()


def _check_role(role: str, cluster: str | None) -> None:
    if role not in ROLES:
        raise UserError(f"There is no role {role}: choose one of {', '.join(ROLES)}.")
    if role == "controller" and not cluster:
        raise UserError("A controller is of one cluster: name it with --cluster (the uid of kube-system).")
    if role != "controller" and cluster:
        raise UserError(f"--cluster is for the role controller, not for {role}.")


def _long_enough(password: str) -> str:
    if len(password) < SHORTEST:
        raise UserError(f"The password is too short: at least {SHORTEST} characters.")
    return password


def _user(row: Row[Any], keys: tuple[str, ...]) -> User:
    return User(
        name=row.name,
        role=row.role,
        project=row.project,
        project_id=row.project_id,
        cluster=row.cluster,
        password=row.password_hash is not None,
        access_keys=keys,
    )
