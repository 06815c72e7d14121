"""Defaults and validation of Role, ClusterRole and their bindings.

They are stored so that manifests can be applied; only the fixed roles in ``auth`` grant permissions.
Upstream: https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/rbac/validation/validation.go
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from certferry.kube.apiserver.errors import FieldError, all_invalid, invalid, one_of, required, unsupported
from certferry.kube.apiserver.resources import names

_GROUP = "rbac.authorization.k8s.io"


def default_binding(binding: dict[str, Any]) -> None:
    """Set the API groups of the role and of users and groups."""
    binding["roleRef"]["apiGroup"] = binding["roleRef"]["apiGroup"] or _GROUP
    for subject in binding.get("subjects", []):
        if subject["kind"] in ("User", "Group"):
            subject.setdefault("apiGroup", _GROUP)


def check_role(role: dict[str, Any], old: dict[str, Any] | None, *, namespaced: bool) -> Iterator[FieldError]:
    """Yield the errors of a ClusterRole, or of a namespaced Role, whose rules may name resources only."""
    rules = role["rules"] or []
    for number, rule in enumerate(rules):
        path = f"rules[{number}]"
        if urls := rule.get("nonResourceURLs"):
            if namespaced:
                detail = "namespaced rules cannot apply to non-resource URLs"
                yield invalid(f"{path}.nonResourceURLs", urls, detail)
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                detail = "rules cannot apply to both regular resources and non-resource URLs"
                yield invalid(f"{path}.nonResourceURLs", urls, detail)
            continue
        if not rule.get("apiGroups"):
            yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{path}.resources", "resource rules must supply at least one resource")
    # Upstream reports its declarative validation after the handwritten one.
    for number, rule in enumerate(rules):
        if not rule["verbs"]:
            yield required(f"rules[{number}].verbs")


def check_binding(binding: dict[str, Any], old: dict[str, Any] | None, *, namespaced: bool) -> Iterator[FieldError]:
    """Yield the errors of a ClusterRoleBinding, or of a namespaced RoleBinding."""
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    role = binding["roleRef"]
    if role["apiGroup"] != _GROUP:
        yield unsupported("roleRef.apiGroup", role["apiGroup"], (_GROUP,))
    yield from one_of("roleRef.kind", role["kind"], kinds)
    if not role["name"]:
        yield required("roleRef.name")
    yield from all_invalid("roleRef.name", role["name"], names.path_segment(role["name"]))
    if old is not None and role != old["roleRef"]:
        shown = {"APIGroup": role["apiGroup"], "Kind": role["kind"], "Name": role["name"]}  # as Go formats it
        yield invalid("roleRef", shown, "cannot change roleRef")
    subjects = binding.get("subjects", [])
    for number, subject in enumerate(subjects):
        yield from _subject(subject, f"subjects[{number}]", namespaced=namespaced)
    for number, subject in enumerate(subjects):
        if not subject["name"]:
            yield required(f"subjects[{number}].name")


def _subject(subject: dict[str, Any], path: str, *, namespaced: bool) -> Iterator[FieldError]:
    match subject["kind"]:
        case "ServiceAccount":
            yield from all_invalid(
                f"{path}.name", subject["name"], names.subdomain(subject["name"]) if subject["name"] else ()
            )
            if subject.get("apiGroup"):
                yield unsupported(f"{path}.apiGroup", subject["apiGroup"], ("",))
            if not namespaced and not subject.get("namespace"):
                yield required(f"{path}.namespace")
        case "User" | "Group":
            if subject.get("apiGroup") != _GROUP:
                yield unsupported(f"{path}.apiGroup", subject.get("apiGroup", ""), (_GROUP,))
        case kind:
            yield unsupported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group"))
