"""The kinds that this server keeps, one row each.

A new kind is one row here and its types in `fields`: discovery, OpenAPI, tables, selectors, storage
and authorisation all read the rows. Rules of a kind stand in the ``rules_*`` modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from certferry.kube.apiserver.errors import FieldError, Resource
from certferry.kube.apiserver.resources import config as rules_data
from certferry.kube.apiserver.resources import ingress as rules_ingress
from certferry.kube.apiserver.resources import names
from certferry.kube.apiserver.resources import network as rules_network
from certferry.kube.apiserver.resources import printers as columns
from certferry.kube.apiserver.resources import printers_workloads as columns_workloads
from certferry.kube.apiserver.resources import rbac as rules_access
from certferry.kube.apiserver.resources import service as rules_service
from certferry.kube.apiserver.resources import workloads as rules_workloads
from certferry.kube.apiserver.resources.metadata import Namer
from certferry.kube.apiserver.resources.printers import Cells, Column

Object = dict[str, Any]
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def _no_default(_: Object) -> None:
    pass


def _no_check(_: Object, __: Object | None) -> Iterable[FieldError]:
    return ()


class ResourceDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that sets one kind apart."""

    name: str
    plural: str
    singular: str
    columns: tuple[Column, ...]
    cells: Cells
    group: str = ""
    version: str = "v1"
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    status: bool = False
    """Whether `status` is a subresource of its own."""
    born_with_status: bool = False
    """Whether a new object may bring its status along."""
    generation: bool = False
    """Whether metadata.generation counts the changes of the spec."""
    unconditional: bool = True
    """Whether a PUT without a resourceVersion is taken."""
    encrypted: bool = False
    """Whether the stored body is encrypted."""
    deprecated: str = ""
    """What clients are warned of, with every answer."""
    lifetime: float | None = None
    """Seconds after which an object goes by itself (Events)."""
    namer: Namer = names.subdomain
    default: Callable[[Object], None] = _no_default
    prepare_for_create: Callable[[Object], None] = _no_default
    """What the server sets on a new object, and no client's field manager owns."""
    prepare_for_update: Callable[[Object, Object], None] | None = None
    """What an update takes over from the old object when it leaves it out."""
    validate: Callable[[Object, Object | None], Iterable[FieldError]] = _no_check
    selectable: tuple[str, ...] = ()
    """Fields for field selectors, beside metadata.name and metadata.namespace."""

    @property
    def api_version(self) -> str:
        """Group and version as objects write them."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> Resource:
        """How error texts name the kind."""
        return Resource(self.group, self.plural)

    @property
    def base(self) -> str:
        """Where its group begins in the API."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


KINDS: tuple[ResourceDefinition, ...] = (
    ResourceDefinition(
        name="ConfigMap",
        plural="configmaps",
        singular="configmap",
        short=("cm",),
        columns=columns.CONFIG_MAP,
        cells=columns.config_map,
        validate=rules_data.check_config_map,
    ),
    ResourceDefinition(
        name="Endpoints",
        plural="endpoints",
        singular="endpoints",
        short=("ep",),
        deprecated="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        columns=columns_workloads.ENDPOINTS,
        cells=columns_workloads.endpoints,
        default=rules_network.default_endpoints,
        validate=rules_network.check_endpoints,
    ),
    ResourceDefinition(
        name="Event",
        plural="events",
        singular="event",
        short=("ev",),
        columns=columns.EVENT,
        cells=columns.event,
        validate=rules_network.check_event,
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
        singular="namespace",
        short=("ns",),
        namespaced=False,
        status=True,
        columns=columns.NAMESPACE,
        cells=columns.namespace,
        namer=names.label,
        default=rules_network.default_namespace,
        prepare_for_create=rules_network.begin_namespace,
        selectable=("status.phase",),
    ),
    ResourceDefinition(
        name="Node",
        plural="nodes",
        singular="node",
        short=("no",),
        namespaced=False,
        status=True,
        born_with_status=True,
        columns=columns_workloads.NODE,
        cells=columns_workloads.node,
        selectable=("spec.unschedulable",),
    ),
    ResourceDefinition(
        name="Pod",
        plural="pods",
        singular="pod",
        short=("po",),
        categories=("all",),
        status=True,
        generation=True,
        columns=columns_workloads.POD,
        cells=columns_workloads.pod,
        default=rules_workloads.default_pod,
        prepare_for_create=rules_workloads.begin_pod,
        validate=rules_workloads.check_pod,
        selectable=("spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "status.phase"),
    ),
    ResourceDefinition(
        name="Secret",
        plural="secrets",
        singular="secret",
        encrypted=True,
        columns=columns.SECRET,
        cells=columns.secret,
        default=rules_data.default_secret,
        validate=rules_data.check_secret,
        selectable=("type",),
    ),
    ResourceDefinition(
        name="ServiceAccount",
        plural="serviceaccounts",
        singular="serviceaccount",
        short=("sa",),
        columns=columns_workloads.ACCOUNT,
        cells=columns_workloads.account,
    ),
    ResourceDefinition(
        name="Service",
        plural="services",
        singular="service",
        short=("svc",),
        categories=("all",),
        status=True,
        columns=columns.SERVICE,
        cells=columns.service,
        namer=names.label,
        default=rules_service.default_service,
        prepare_for_update=rules_service.keep_service,
        validate=rules_service.check_service,
        selectable=("spec.clusterIP", "spec.type"),
    ),
    ResourceDefinition(
        group="apps",
        name="Deployment",
        plural="deployments",
        singular="deployment",
        short=("deploy",),
        categories=("all",),
        status=True,
        generation=True,
        columns=columns_workloads.DEPLOYMENT,
        cells=columns_workloads.deployment,
        default=rules_workloads.default_deployment,
        validate=rules_workloads.check_deployment,
    ),
    ResourceDefinition(
        group="coordination.k8s.io",
        name="Lease",
        plural="leases",
        singular="lease",
        unconditional=False,
        columns=columns.LEASE,
        cells=columns.lease,
        validate=rules_network.check_lease,
    ),
    ResourceDefinition(
        group="discovery.k8s.io",
        name="EndpointSlice",
        plural="endpointslices",
        singular="endpointslice",
        generation=True,
        columns=columns.ENDPOINT_SLICE,
        cells=columns.endpoint_slice,
        default=rules_network.default_slice,
        validate=rules_network.check_slice,
    ),
    ResourceDefinition(
        group="networking.k8s.io",
        name="IngressClass",
        plural="ingressclasses",
        singular="ingressclass",
        namespaced=False,
        generation=True,
        columns=columns.INGRESS_CLASS,
        cells=columns.ingress_class,
        default=rules_ingress.default_class,
        validate=rules_ingress.check_class,
    ),
    ResourceDefinition(
        group="networking.k8s.io",
        name="Ingress",
        plural="ingresses",
        singular="ingress",
        short=("ing",),
        status=True,
        generation=True,
        columns=columns.INGRESS,
        cells=columns.ingress,
        validate=rules_ingress.check_ingress,
    ),
    ResourceDefinition(
        group="rbac.authorization.k8s.io",
        name="ClusterRole",
        plural="clusterroles",
        singular="clusterrole",
        namespaced=False,
        columns=columns_workloads.ROLE,
        cells=columns_workloads.role,
        namer=names.path_segment,
        validate=rules_access.check_cluster_role,
    ),
    ResourceDefinition(
        group="rbac.authorization.k8s.io",
        name="ClusterRoleBinding",
        plural="clusterrolebindings",
        singular="clusterrolebinding",
        namespaced=False,
        columns=columns_workloads.BINDING,
        cells=columns_workloads.binding,
        namer=names.path_segment,
        default=rules_access.default_binding,
        validate=rules_access.check_cluster_binding,
    ),
    ResourceDefinition(
        group="rbac.authorization.k8s.io",
        name="Role",
        plural="roles",
        singular="role",
        columns=columns_workloads.ROLE,
        cells=columns_workloads.role,
        namer=names.path_segment,
        validate=rules_access.check_role,
    ),
    ResourceDefinition(
        group="rbac.authorization.k8s.io",
        name="RoleBinding",
        plural="rolebindings",
        singular="rolebinding",
        columns=columns_workloads.BINDING,
        cells=columns_workloads.binding,
        namer=names.path_segment,
        default=rules_access.default_binding,
        validate=rules_access.check_binding,
    ),
)


_LOOPBACK = {
    "EndpointSlice": rules_network.check_slice_loopback,
    "Endpoints": rules_network.check_endpoints_loopback,
}


def with_loopback_endpoints(kinds: tuple[ResourceDefinition, ...]) -> tuple[ResourceDefinition, ...]:
    """The same kinds, but endpoints may have loopback addresses (a real server forbids them)."""
    return tuple(
        msgspec.structs.replace(k, validate=_LOOPBACK[k.name]) if k.name in _LOOPBACK else k for k in kinds
    )
