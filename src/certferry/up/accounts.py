"""Credential files of the ELB's first users: read as the ELB wrote them, written for one program each."""

from __future__ import annotations

from pathlib import Path

import msgspec

from certferry.elb.client.credentials import Credentials
from certferry.elb.server.identity.accounts import Account, Accounts
from certferry.runtime import private_files


def load(file: Path) -> Accounts:
    """Read the accounts that the ELB wrote at its first start. Raises OSError."""
    return msgspec.json.decode(file.read_bytes(), type=Accounts)


def credentials(accounts: Accounts, account: Account) -> Credentials:
    """Return what a client needs to act as `account`."""
    return Credentials(
        project_id=accounts.project_id,
        domain=accounts.domain,
        access_key=account.access_key,
        secret_key=account.secret_key,
        username=account.username,
        password=account.password,
    )


def write_credentials(credentials: Credentials, file: Path) -> None:
    """Write one user's credentials to a file that a program reads. Raises OSError."""
    private_files.write(file, msgspec.json.encode(credentials).decode() + "\n")
