"""The table of all kinds that this server stores.

A new kind is one row here and its types in ``schema/types.txt``. Discovery, OpenAPI, tables, selectors, storage
and authorisation read the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec

from certferry.kube.apiserver.errors import FieldError, Resource
from certferry.kube.apiserver.resources import (
    config,
    ingress,
    names,
    network,
    printers,
    printers_workloads,
    rbac,
    service,
    workloads,
)
from certferry.kube.apiserver.resources.metadata import Namer
from certferry.kube.apiserver.resources.printers import Cells, Column

Object = dict[str, Any]
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def _no_default(_: Object) -> None:
    pass


def _no_check(_: Object, __: Object | None) -> Iterable[FieldError]:
    return ()


class ResourceDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """All properties of one kind."""

    name: str
    plural: str
    columns: tuple[Column, ...]
    cells: Cells
    group: str = ""
    version: str = "v1"
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    status: bool = False
    """True if `status` is a subresource."""
    status_on_create: bool = False
    """True if a new object may contain its status."""
    generation: bool = False
    """True if metadata.generation counts changes of the spec."""
    unconditional_update: bool = True
    """True if a PUT without a resourceVersion is accepted."""
    encrypted: bool = False
    """True if the stored body is encrypted."""
    deprecated: str = ""
    """Warning that every response carries."""
    lifetime: float | None = None
    """Seconds after which an object is deleted (Events)."""
    validate_name: Namer = names.subdomain
    default: Callable[[Object], None] = _no_default
    prepare_for_create: Callable[[Object], None] = _no_default
    """Sets server fields of a new object, which no field manager owns."""
    prepare_for_update: Callable[[Object, Object], None] | None = None
    """Carries over fields of the old object that an update left out."""
    validate: Callable[[Object, Object | None], Iterable[FieldError]] = _no_check
    selectable: tuple[str, ...] = ()
    """Fields for field selectors, beside metadata.name and metadata.namespace."""

    @property
    def singular(self) -> str:
        """Return the name in lower case."""
        return self.name.lower()

    @property
    def api_version(self) -> str:
        """Return group and version as objects write them."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> Resource:
        """Return group and plural for error texts."""
        return Resource(self.group, self.plural)

    @property
    def group_path(self) -> str:
        """Return the path of the kind's group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


KINDS: tuple[ResourceDefinition, ...] = (
    ResourceDefinition(
        name="ConfigMap",
        plural="configmaps",
        short=("cm",),
        columns=printers.CONFIG_MAP,
        cells=printers.config_map,
        validate=config.check_config_map,
    ),
    ResourceDefinition(
        name="Endpoints",
        plural="endpoints",
        short=("ep",),
        deprecated="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        columns=printers_workloads.ENDPOINTS,
        cells=printers_workloads.endpoints,
        default=network.default_endpoints,
        validate=network.check_endpoints,
    ),
    ResourceDefinition(
        name="Event",
        plural="events",
        short=("ev",),
        columns=printers.EVENT,
        cells=printers.event,
        validate=network.check_event,
        lifetime=3600,
        selectable=(
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ),
    ),
    ResourceDefinition(
        name="Namespace",
        plural="namespaces",
        short=("ns",),
        namespaced=False,
        status=True,
        columns=printers.NAMESPACE,
        cells=printers.namespace,
        validate_name=names.label,
        default=network.default_namespace,
        prepare_for_create=network.prepare_namespace,
        selectable=("status.phase",),
    ),
    ResourceDefinition(
        name="Node",
        plural="nodes",
        short=("no",),
        namespaced=False,
        status=True,
        status_on_create=True,
        columns=printers_workloads.NODE,
        cells=printers_workloads.node,
        selectable=("spec.unschedulable",),
    ),
    ResourceDefinition(
        name="Pod",
        plural="pods",
        short=("po",),
        categories=("all",),
        status=True,
        generation=True,
        columns=printers_workloads.POD,
        cells=printers_workloads.pod,
        default=workloads.default_pod,
        prepare_for_create=workloads.prepare_pod,
        validate=workloads.check_pod,
        selectable=("spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "status.phase"),
    ),
    ResourceDefinition(
        name="Secret",
        plural="secrets",
        encrypted=True,
        columns=printers.SECRET,
        cells=printers.secret,
        default=config.default_secret,
        validate=config.check_secret,
        selectable=("type",),
    ),
    ResourceDefinition(
        name="ServiceAccount",
        plural="serviceaccounts",
        short=("sa",),
        columns=printers_workloads.ACCOUNT,
        cells=printers_workloads.account,
    ),
    ResourceDefinition(
        name="Service",
        plural="services",
        short=("svc",),
        categories=("all",),
        status=True,
        columns=printers.SERVICE,
        cells=printers.service,
        validate_name=names.label,
        default=service.default_service,
        prepare_for_update=service.carry_over_service,
        validate=service.check_service,
        selectable=("spec.clusterIP", "spec.type"),
    ),
    ResourceDefinition(
        group="apps",
        name="Deployment",
        plural="deployments",
        short=("deploy",),
        categories=("all",),
        status=True,
        generation=True,
        columns=printers_workloads.DEPLOYMENT,
        cells=printers_workloads.deployment,
        default=workloads.default_deployment,
        validate=workloads.check_deployment,
    ),
    ResourceDefinition(
        group="coordination.k8s.io",
        name="Lease",
        plural="leases",
        unconditional_update=False,
        columns=printers.LEASE,
        cells=printers.lease,
        validate=network.check_lease,
    ),
    ResourceDefinition(
        group="discovery.k8s.io",
        name="EndpointSlice",
        plural="endpointslices",
        generation=True,
        columns=printers.ENDPOINT_SLICE,
        cells=printers.endpoint_slice,
        default=network.default_slice,
        validate=network.check_slice,
    ),
    ResourceDefinition(
        group="networking.k8s.io",
        name="IngressClass",
        plural="ingressclasses",
        namespaced=False,
        generation=True,
        columns=printers.INGRESS_CLASS,
        cells=printers.ingress_class,
        default=ingress.default_class,
        validate=ingress.check_class,
    ),
    ResourceDefinition(
        group="networking.k8s.io",
        name="Ingress",
        plural="ingresses",
        short=("ing",),
        status=True,
        generation=True,
        columns=printers.INGRESS,
        cells=printers.ingress,
        validate=ingress.check_ingress,
    ),
    ResourceDefinition(
        group="rbac.authorization.k8s.io",
        name="ClusterRole",
        plural="clusterroles",
        namespaced=False,
        columns=printers_workloads.ROLE,
        cells=printers_workloads.role,
        validate_name=names.path_segment,
        validate=partial(rbac.check_role, namespaced=False),
    ),
    ResourceDefinition(
        group="rbac.authorization.k8s.io",
        name="ClusterRoleBinding",
        plural="clusterrolebindings",
        namespaced=False,
        columns=printers_workloads.BINDING,
        cells=printers_workloads.binding,
        validate_name=names.path_segment,
        default=rbac.default_binding,
        validate=partial(rbac.check_binding, namespaced=False),
    ),
    ResourceDefinition(
        group="rbac.authorization.k8s.io",
        name="Role",
        plural="roles",
        columns=printers_workloads.ROLE,
        cells=printers_workloads.role,
        validate_name=names.path_segment,
        validate=partial(rbac.check_role, namespaced=True),
    ),
    ResourceDefinition(
        group="rbac.authorization.k8s.io",
        name="RoleBinding",
        plural="rolebindings",
        columns=printers_workloads.BINDING,
        cells=printers_workloads.binding,
        validate_name=names.path_segment,
        default=rbac.default_binding,
        validate=partial(rbac.check_binding, namespaced=True),
    ),
)


_LOOPBACK = {
    "EndpointSlice": partial(network.check_slice, loopback=True),
    "Endpoints": partial(network.check_endpoints, loopback=True),
}


def with_loopback_endpoints(kinds: tuple[ResourceDefinition, ...]) -> tuple[ResourceDefinition, ...]:
    """Return `kinds` with loopback addresses allowed in endpoints, which a real server rejects."""
    return tuple(msgspec.structs.replace(k, validate=_LOOPBACK[k.name]) if k.name in _LOOPBACK else k for k in kinds)
