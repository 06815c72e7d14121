"""The authenticated user of a request."""

from __future__ import annotations

from typing import Final

import msgspec

ROLES: Final = ("admin", "member", "reader", "controller")


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated user, in its project."""

    user_id: str
    name: str
    role: str
    """One of ``ROLES``: a reader only reads, a controller alone writes what it owns."""
    project_id: str
    cluster: str | None = None
    """Of a controller: the cluster it works for, and the owner of what it creates."""

    @property
    def owner(self) -> str | None:
        """The owner of certificates that this user creates."""
        return self.cluster if self.role == "controller" else None
