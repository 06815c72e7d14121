"""The ELB's first users, as the ELB itself wrote them down at its first start.

``run`` reads them to make the load balancer, to tell the controller who it is, and to publish the
admin. It creates no user.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from certferry.elb.client.credentials import Credentials
from certferry.runtime import private_files


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One user."""

    username: str
    password: str
    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return f"Account({self.username}, …)"


class Accounts(msgspec.Struct, frozen=True, kw_only=True):
    """An admin, and the controller of the embedded cluster, in one project."""

    project_id: str
    domain: str
    admin: Account
    controller: Account

    def of(self, account: Account) -> Credentials:
        """What a client needs to be `account`."""
        return Credentials(
            project_id=self.project_id,
            domain=self.domain,
            access_key=account.access_key,
            secret_key=account.secret_key,
            username=account.username,
            password=account.password,
        )


def load(file: Path) -> Accounts:
    """What the ELB wrote. Raises OSError."""
    return msgspec.json.decode(file.read_bytes(), type=Accounts)


def hand_over(credentials: Credentials, file: Path) -> None:
    """Write one user's credentials where a program reads them. Raises OSError."""
    private_files.write(file, msgspec.json.encode(credentials).decode() + "\n")
