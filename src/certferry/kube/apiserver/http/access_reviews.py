"""Self-subject reviews, which `kubectl auth can-i` and `kubectl auth whoami` create.

Source: https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/
"""

from __future__ import annotations

from typing import Any

from certferry.kube.apiserver.auth import auth
from certferry.kube.apiserver.auth.auth import Action, User
from certferry.kube.apiserver.errors import Resource, bad_request
from certferry.kube.apiserver.resources.builtin import ResourceDefinition

Json = dict[str, Any]


def review(kind: str, request: Json, user: User, kinds: tuple[ResourceDefinition, ...]) -> Json:
    """Return the review `request` with its status. Raises ``ApiStatus`` if it asks no question."""
    group = "authentication" if kind == "SelfSubjectReview" else "authorization"
    head: Json = {"kind": kind, "apiVersion": f"{group}.k8s.io/v1", "metadata": {"creationTimestamp": None}}
    spec = request.get("spec", {})
    match kind:
        case "SelfSubjectReview":
            return head | {"status": {"userInfo": {"username": user.name, "groups": list(user.groups)}}}
        case "SelfSubjectRulesReview":
            return head | {"spec": {}, "status": _rules(user, kinds)}
    return head | {"spec": spec, "status": _access(spec, user)}


def _access(spec: Json, user: User) -> Json:
    if path := spec.get("nonResourceAttributes"):
        free = path.get("verb") in ("get", "head") or user.role == "admin"
        return {"allowed": free}
    attributes = spec.get("resourceAttributes")
    if attributes is None:
        raise bad_request("exactly one of nonResourceAttributes or resourceAttributes must be specified")
    resource = Resource(attributes.get("group", ""), attributes.get("resource", ""))
    action = Action(attributes.get("verb", ""), resource, attributes.get("subresource", ""))
    yes = auth.allowed(user, action)
    return {"allowed": yes} | ({} if yes else {"reason": f"the role {user.role} does not allow it"})


def _rules(user: User, kinds: tuple[ResourceDefinition, ...]) -> Json:
    groups = {k.plural: k.group for k in kinds}
    rules = [
        {
            "verbs": sorted(rule.verbs),
            "apiGroups": sorted({groups.get(r.partition("/")[0], "*") for r in rule.resources}),
            "resources": sorted(rule.resources),
        }
        for rule in auth.ROLES[user.role]
    ]
    paths = [{"verbs": ["get"], "nonResourceURLs": ["*"]}]
    return {"resourceRules": rules, "nonResourceRules": paths, "incomplete": False}
