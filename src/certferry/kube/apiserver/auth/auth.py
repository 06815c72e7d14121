"""Authentication by bearer token or client certificate, and authorisation by fixed roles.

Tokens are compared by their hash, so that the response time reveals nothing about them.
Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

from certferry.kube.apiserver.errors import Resource, forbidden

READ: Final = frozenset({"get", "list", "watch"})
ALL: Final = frozenset({"*"})


class User(msgspec.Struct, frozen=True):
    """An authenticated user."""

    name: str
    role: str

    @property
    def groups(self) -> tuple[str, ...]:
        """Return the groups that `kubectl auth whoami` shows."""
        own = "system:masters" if self.role == "admin" else f"certferry:{self.role}"
        return own, "system:authenticated"


class Action(msgspec.Struct, frozen=True):
    """A verb on a resource, in the terms of RBAC."""

    verb: str
    resource: Resource
    subresource: str = ""
    namespace: str = ""
    name: str = ""


class Rule(msgspec.Struct, frozen=True):
    """Verbs that are allowed on resources (``*`` means all; subresources as ``plural/subresource``)."""

    verbs: frozenset[str]
    resources: frozenset[str]

    def allows(self, verb: str, resource: str) -> bool:
        """Return whether this rule allows `verb` on `resource` (``plural`` or ``plural/subresource``)."""
        return bool({"*", verb} & self.verbs and {"*", resource} & self.resources)


_OPEN: Final = frozenset(
    {"configmaps", "endpointslices", "events", "ingressclasses", "ingresses", "leases", "namespaces", "services"}
)
_STORED: Final = frozenset(
    {
        "clusterrolebindings",
        "clusterroles",
        "deployments",
        "endpoints",
        "nodes",
        "pods",
        "rolebindings",
        "roles",
        "serviceaccounts",
    }
)
"""Kinds that clients may store and read, and on which nothing here acts."""
_STATUSES: Final = frozenset(
    {"deployments/status", "ingresses/status", "namespaces/status", "nodes/status", "pods/status", "services/status"}
)
_REVIEWS: Final = Rule(
    frozenset({"create"}), frozenset({"selfsubjectaccessreviews", "selfsubjectreviews", "selfsubjectrulesreviews"})
)
ROLES: Final[dict[str, tuple[Rule, ...]]] = {
    "admin": (Rule(ALL, ALL),),
    "controller": (
        Rule(READ, _OPEN | {"secrets"}),
        Rule(frozenset({"create", "patch", "update"}), frozenset({"events", "leases"})),
        Rule(frozenset({"patch"}), frozenset({"ingresses", "services"})),
        Rule(frozenset({"patch", "update"}), frozenset({"ingresses/status", "services/status"})),
        _REVIEWS,
    ),
    "edit": (
        Rule(READ, _OPEN | _STORED | _STATUSES | {"secrets"}),
        Rule(
            frozenset({"create", "delete", "deletecollection", "patch", "update"}),
            frozenset({"configmaps", "endpointslices", "ingresses", "secrets", "services"}),
        ),
        _REVIEWS,
    ),
    "view": (Rule(READ, _OPEN | _STORED | _STATUSES), _REVIEWS),
}
"""Rules of each role. The controller reads Secrets and never writes one."""
_METADATA_ONLY: Final = {"controller": frozenset({"ingresses", "services"})}
"""The resources of which a role may change the metadata only. RBAC of a real server cannot express it."""


class Tokens:
    """Users by bearer token."""

    def __init__(self, users: Mapping[str, User]) -> None:
        self._users = {_hash(token): user for token, user in users.items()}

    def identify(self, token: str) -> User | None:
        """Return the token's user; None if unknown."""
        return self._users.get(_hash(token))

    def __repr__(self) -> str:
        return f"Tokens({len(self._users)})"


def from_certificate(subject: object) -> User | None:
    """Return the user of a verified client certificate: CN is the name, O the role.

    `subject` is ``getpeercert()['subject']``.
    """
    if not isinstance(subject, tuple):
        return None
    parts = {key: value for row in subject for key, value in row}
    role = str(parts.get("organizationName", "")).removeprefix("certferry:")
    name = str(parts.get("commonName", ""))
    return User(name, role) if role in ROLES and name else None


def allowed(user: User, action: Action) -> bool:
    """Return whether the role of `user` allows `action`."""
    full = action.resource.plural + (f"/{action.subresource}" if action.subresource else "")
    return any(rule.allows(action.verb, full) for rule in ROLES[user.role])


def authorize(user: User, action: Action) -> None:
    """Raise ``ApiStatus`` (403) with the real server's sentence unless `action` is allowed."""
    if allowed(user, action):
        return
    full = action.resource.plural + (f"/{action.subresource}" if action.subresource else "")
    where = f'in the namespace "{action.namespace}"' if action.namespace else "at the cluster scope"
    why = f'User "{user.name}" cannot {action.verb} resource "{full}" in API group "{action.resource.group}" {where}'
    raise forbidden(action.resource, action.name, why)


def authorize_change(user: User, resource: Resource, name: str, before: object, after: object) -> None:
    """Raise ``ApiStatus`` (403) unless the role of `user` allows a change of the spec from `before` to `after`."""
    if before != after and resource.plural in _METADATA_ONLY.get(user.role, ()):
        raise forbidden(resource, name, f'User "{user.name}" may change only the metadata of {resource.plural}')


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
