"""Discovery documents: groups, versions and resources, plain and aggregated.

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

from typing import Any, Final

from certferry.kube.apiserver.resources.builtin import VERBS, ResourceDefinition

AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_STATUS_VERBS = ("get", "patch", "update")
REVIEWS: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    ("authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    ("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview"),
)
"""Reviews, which clients create and the server does not store: group, version, plural, kind."""

Json = dict[str, Any]


def wants_aggregated(accept: str) -> bool:
    """Return whether `accept` accepts the aggregated form, version 2."""
    parts = accept.replace(" ", "").split(",")
    return any("g=apidiscovery.k8s.io" in p and "v=v2;" in p + ";" for p in parts)


def groups(kinds: tuple[ResourceDefinition, ...]) -> dict[str, str]:
    """Return the version of each named group, sorted; the core group is left out."""
    found = {k.group: k.version for k in kinds if k.group} | {g: v for g, v, _, _ in REVIEWS}
    return dict(sorted(found.items()))


def api_versions(host: str) -> Json:
    """Return the document of /api."""
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def group_list(kinds: tuple[ResourceDefinition, ...]) -> Json:
    """Return the document of /apis."""
    found = [_group(name, version) for name, version in groups(kinds).items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(name: str, version: str) -> Json:
    """Return the document of /apis/{name}."""
    return {"kind": "APIGroup", "apiVersion": "v1"} | _group(name, version)


def resource_list(kinds: tuple[ResourceDefinition, ...], name: str, version: str) -> Json:
    """Return the document of /api/v1 or /apis/{name}/{version}."""
    rows: list[Json] = []
    for kind in (k for k in kinds if (k.group, k.version) == (name, version)):
        row: Json = {
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.name,
            "verbs": list(VERBS),
        }
        row |= {"shortNames": list(kind.short)} if kind.short else {}
        row |= {"categories": list(kind.categories)} if kind.categories else {}
        rows.append(row)
        if kind.status:
            rows.append(status_row(kind))
    rows += [
        {"name": plural, "singularName": kind_name.lower(), "namespaced": False, "kind": kind_name, "verbs": ["create"]}
        for g, v, plural, kind_name in REVIEWS
        if (g, v) == (name, version)
    ]
    full = f"{name}/{version}" if name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": full, "resources": rows}


def status_row(kind: ResourceDefinition) -> Json:
    """Return the row of the kind's status subresource in a plain list."""
    return {
        "name": f"{kind.plural}/status",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": list(_STATUS_VERBS),
    }


def aggregated(kinds: tuple[ResourceDefinition, ...], names: dict[str, str]) -> Json:
    """Return /api or /apis as one document, for the groups in `names` (the core group is "")."""
    items = [_aggregated_group(kinds, name, version) for name, version in names.items()]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _group(name: str, version: str) -> Json:
    preferred = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [preferred], "preferredVersion": preferred}


def _aggregated_group(kinds: tuple[ResourceDefinition, ...], name: str, version: str) -> Json:
    resources = [_aggregated(k) for k in kinds if (k.group, k.version) == (name, version)]
    resources += [
        _resource(plural, kind_name.lower(), (g, v, kind_name), namespaced=False) | {"verbs": ["create"]}
        for g, v, plural, kind_name in REVIEWS
        if (g, v) == (name, version)
    ]
    meta = {"name": name} if name else {}
    versions = [{"version": version, "freshness": "Current", "resources": resources}]
    return {"metadata": meta | {"creationTimestamp": None}, "versions": versions}


def _aggregated(kind: ResourceDefinition) -> Json:
    known = (kind.group, kind.version, kind.name)
    row = _resource(kind.plural, kind.singular, known, namespaced=kind.namespaced) | {"verbs": list(VERBS)}
    row |= {"shortNames": list(kind.short)} if kind.short else {}
    row |= {"categories": list(kind.categories)} if kind.categories else {}
    if kind.status:
        status = {"subresource": "status", "responseKind": row["responseKind"], "verbs": list(_STATUS_VERBS)}
        row["subresources"] = [status]
    return row


def _resource(plural: str, singular: str, known: tuple[str, str, str], *, namespaced: bool) -> Json:
    group_name, version, kind_name = known
    return {
        "resource": plural,
        "responseKind": {"group": group_name, "version": version, "kind": kind_name},
        "scope": "Namespaced" if namespaced else "Cluster",
        "singularResource": singular,
    }
