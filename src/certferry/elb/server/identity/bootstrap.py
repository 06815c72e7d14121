"""The users of a new system: an admin, and a controller for one cluster.

Existing users stay unchanged. The credentials are in one file (0600) beside the store, because the store has only
the hash of the admin's password.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

import msgspec

from certferry.elb.server.identity.accounts import Account, Accounts
from certferry.elb.server.identity.users import AccessKey, Identity
from certferry.elb.server.keys import encryption_keys
from certferry.elb.server.paths import database, prepared
from certferry.elb.server.store.database import open_database
from certferry.runtime import private_files
from certferry.settings import ElbSettings

FILE: Final = "elb-credentials.json"


def bootstrap(settings: ElbSettings, *, cluster: str, project: str = "certferry", admin: str = "admin") -> Accounts:
    """Create the project, the admin and the controller of `cluster` unless they exist.

    Raises ``StoreUnusable`` or ``EncryptionError``. May run while the ELB does.
    """
    state = prepared(settings)
    engine = open_database(database(settings, state))
    try:
        identity = Identity(engine, encryption_keys(settings, create=True))
        home = identity.ensure_project(project)
        password = _kept_password(state, admin) or secrets.token_urlsafe(18)
        admin_id = identity.ensure_user(admin, role="admin", project=home, password=password)
        name = f"controller-{cluster}"[:64]
        controller_id = identity.ensure_user(name, role="controller", project=home, cluster=cluster)
        credentials = Accounts(
            project_id=home.id,
            project=home.name,
            domain=home.domain,
            admin=_account(admin, password, identity.ensure_access_key(admin_id)),
            controller=_account(name, "", identity.ensure_access_key(controller_id)),
        )
    finally:
        engine.dispose()
    _keep(state / FILE, credentials)
    return credentials


def _account(name: str, password: str, keys: AccessKey) -> Account:
    return Account(username=name, password=password, access_key=keys.access_key, secret_key=keys.secret_key)


def _kept_password(state: Path, admin: str) -> str | None:
    try:
        kept = msgspec.json.decode((state / FILE).read_bytes(), type=Accounts)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return kept.admin.password if kept.admin.username == admin else None


def _keep(path: Path, credentials: Accounts) -> None:
    text = msgspec.json.format(msgspec.json.encode(credentials), indent=2) + b"\n"
    if path.exists() and path.read_bytes() == text:
        return
    private_files.write(path, text)
