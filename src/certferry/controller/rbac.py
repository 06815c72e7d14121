"""RBAC manifests of the controller: one list of rules, three ways to grant it.

`certferry rbac` prints them, ``deploy/kustomize`` has them, `certferry doctor` asks for each. It knows
no cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, get_args

import msgspec

from certferry.core.model.kubernetes import Name

Mode = Literal["cluster", "namespaces", "named"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)

NAME: Final = "certferry-controller"
LABELS: Final = {"app.kubernetes.io/name": "certferry", "app.kubernetes.io/component": "controller"}

Object = dict[str, Any]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Verbs on one kind."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    """Only these objects; empty: all."""

    def manifest(self) -> Object:
        """Return the rule as RBAC writes it."""
        rule: Object = {"apiGroups": [self.group], "resources": [self.resource], "verbs": list(self.verbs)}
        return rule | ({"resourceNames": list(self.names)} if self.names else {})


READ: Final = ("get", "list", "watch")
_NETWORKING: Final = "networking.k8s.io"
SECRETS: Final = Rule(group="", resource="secrets", verbs=READ)
IN_NAMESPACES: Final = (
    Rule(group=_NETWORKING, resource="ingresses", verbs=(*READ, "patch")),
    Rule(group=_NETWORKING, resource="ingresses/status", verbs=("patch",)),
    Rule(group="", resource="services", verbs=(*READ, "patch")),
    Rule(group="", resource="services/status", verbs=("patch",)),
    Rule(group="discovery.k8s.io", resource="endpointslices", verbs=READ),
    Rule(group="", resource="events", verbs=("create", "get", "patch")),
)
"""Whatever mode it is; only Secrets differ."""
IN_CLUSTER: Final = (
    Rule(group=_NETWORKING, resource="ingressclasses", verbs=READ),
    Rule(group="", resource="nodes", verbs=READ),
    Rule(group="", resource="namespaces", verbs=("get",), names=("kube-system",)),
)
"""Objects without a namespace: for classes, node addresses, and the cluster's identity."""
LEADING: Final = (
    Rule(group="coordination.k8s.io", resource="leases", verbs=("create",)),
    Rule(group="coordination.k8s.io", resource="leases", verbs=("get", "update"), names=("certferry-controller",)),
)
"""In its own namespace: which replica leads."""


class ServiceAccount(msgspec.Struct, frozen=True, kw_only=True):
    """The service account of the controller."""

    namespace: str = "certferry"
    name: str = NAME


def namespace(account: ServiceAccount) -> Object:
    """Return the Namespace of the service account, which must exist before it."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": account.namespace, "labels": labels}}


def manifests(
    mode: Mode, account: ServiceAccount, namespaces: Sequence[str] = (), secrets: Iterable[Name] = ()
) -> list[Object]:
    """Return the service account and its rights.

    `namespaces`: for mode ``namespaces``, and for ``named`` if it is not to see all. `secrets`: for
    mode ``named``.
    """
    meta = {"name": account.name, "namespace": account.namespace, "labels": LABELS}
    made: list[Object] = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}]
    everywhere = mode == "cluster" or (mode == "named" and not namespaces)
    rules = IN_CLUSTER + (IN_NAMESPACES if everywhere else ())
    made += _granted(account, "", account.name, rules + ((SECRETS,) if mode == "cluster" else ()))
    made += _granted(account, account.namespace, f"{account.name}-leader", LEADING)
    for namespace in sorted(namespaces) if not everywhere else ():
        secret = (SECRETS,) if mode == "namespaces" else ()
        made += _granted(account, namespace, account.name, IN_NAMESPACES + secret)
    if mode == "named":
        made += _named(account, secrets)
    return made


def _named(account: ServiceAccount, secrets: Iterable[Name]) -> list[Object]:
    """Return one Role per namespace that names its Secrets; without ``list``, which would show all of them."""
    made: list[Object] = []
    by_namespace: dict[str, set[str]] = {}
    for secret in secrets:
        by_namespace.setdefault(secret.namespace, set()).add(secret.name)
    for namespace, names in sorted(by_namespace.items()):
        rule = Rule(group="", resource="secrets", verbs=("get", "watch"), names=tuple(sorted(names)))
        made += _granted(account, namespace, f"{account.name}-secrets", (rule,))
    return made


def _granted(account: ServiceAccount, namespace: str, name: str, rules: Sequence[Rule]) -> list[Object]:
    """Return a Role and its binding in `namespace`; without a namespace a ClusterRole and its binding."""
    kind = "Role" if namespace else "ClusterRole"
    meta: Object = {"name": name} | ({"namespace": namespace} if namespace else {}) | {"labels": LABELS}
    version = "rbac.authorization.k8s.io/v1"
    return [
        {"apiVersion": version, "kind": kind, "metadata": meta, "rules": [r.manifest() for r in rules]},
        {
            "apiVersion": version,
            "kind": f"{kind}Binding",
            "metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace}],
        },
    ]
