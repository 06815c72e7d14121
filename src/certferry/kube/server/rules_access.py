"""Role, ClusterRole and their bindings: defaults and rules, with the real server's sentences.

They are kept so that manifests can be applied; what a user may do is said by the roles in `auth` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from certferry.kube.server import names
from certferry.kube.server.status import Fault, forbidden_field, invalid, required, unsupported

_GROUP = "rbac.authorization.k8s.io"


def default_binding(binding: dict[str, Any]) -> None:
    """The API group of the role, and of users and groups."""
    binding["roleRef"]["apiGroup"] = binding["roleRef"]["apiGroup"] or _GROUP
    for subject in binding.get("subjects", []):
        if subject["kind"] in ("User", "Group"):
            subject.setdefault("apiGroup", _GROUP)


def check_role(role: dict[str, Any], old: dict[str, Any] | None) -> Iterator[Fault]:
    """What is wrong with a Role, whose rules are about resources alone."""
    for number, rule in enumerate(role["rules"] or []):
        if rule.get("nonResourceURLs"):
            detail = "namespaced rules cannot apply to non-resource URLs"
            yield invalid(f"rules[{number}].nonResourceURLs", rule["nonResourceURLs"], detail)
        yield from _rule(rule, f"rules[{number}]")


def check_cluster_role(role: dict[str, Any], old: dict[str, Any] | None) -> Iterator[Fault]:
    """What is wrong with a ClusterRole."""
    for number, rule in enumerate(role["rules"] or []):
        path = f"rules[{number}]"
        if rule.get("nonResourceURLs"):
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                detail = "rules cannot apply to both regular resources and non-resource URLs"
                yield invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], detail)
            if not rule["verbs"]:
                yield required(f"{path}.verbs", "verbs must contain at least one value")
        else:
            yield from _rule(rule, path)


def _rule(rule: dict[str, Any], path: str) -> Iterator[Fault]:
    if not rule["verbs"]:
        yield required(f"{path}.verbs", "verbs must contain at least one value")
    if not rule.get("apiGroups"):
        yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
    if not rule.get("resources"):
        yield required(f"{path}.resources", "resource rules must supply at least one resource")


def check_binding(binding: dict[str, Any], old: dict[str, Any] | None) -> Iterator[Fault]:
    """What is wrong with a binding in a namespace."""
    return _binding(binding, old, ("ClusterRole", "Role"))


def check_cluster_binding(binding: dict[str, Any], old: dict[str, Any] | None) -> Iterator[Fault]:
    """What is wrong with a binding for the whole cluster."""
    return _binding(binding, old, ("ClusterRole",))


def _binding(binding: dict[str, Any], old: dict[str, Any] | None, kinds: tuple[str, ...]) -> Iterator[Fault]:
    role = binding["roleRef"]
    if role["apiGroup"] != _GROUP:
        yield unsupported("roleRef.apiGroup", role["apiGroup"], (_GROUP,))
    if role["kind"] not in kinds:
        yield unsupported("roleRef.kind", role["kind"], kinds)
    if not role["name"]:
        yield required("roleRef.name")
    for text in names.path_segment(role["name"]):
        yield invalid("roleRef.name", role["name"], text)
    if old is not None and role != old["roleRef"]:
        yield invalid("roleRef", role, "cannot change roleRef")
    for number, subject in enumerate(binding.get("subjects", [])):
        yield from _subject(subject, f"subjects[{number}]")


def _subject(subject: dict[str, Any], path: str) -> Iterator[Fault]:
    if not subject["name"]:
        yield required(f"{path}.name")
    match subject["kind"]:
        case "ServiceAccount":
            for text in names.subdomain(subject["name"]) if subject["name"] else ():
                yield invalid(f"{path}.name", subject["name"], text)
            if subject.get("apiGroup"):
                yield unsupported(f"{path}.apiGroup", subject["apiGroup"], ("",))
            if not subject.get("namespace"):
                yield required(f"{path}.namespace")
        case "User" | "Group":
            if subject.get("apiGroup") != _GROUP:
                yield unsupported(f"{path}.apiGroup", subject.get("apiGroup", ""), (_GROUP,))
            if subject.get("namespace"):
                yield forbidden_field(f"{path}.namespace", "may not be set for users and groups")
        case kind:
            yield unsupported(f"{path}.kind", kind, ("Group", "ServiceAccount", "User"))
