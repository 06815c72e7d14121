"""Content of ``elb-credentials.json``: the first users of an ELB."""

from __future__ import annotations

import msgspec


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One user and its secrets, which its representation hides."""

    username: str
    password: str
    """Empty: this user only signs requests."""
    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return f"Account({self.username}, ***)"


class Accounts(msgspec.Struct, frozen=True, kw_only=True):
    """An admin and the controller of one cluster, in one project."""

    project_id: str
    project: str
    domain: str
    admin: Account
    controller: Account
