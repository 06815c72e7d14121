"""Kubernetes objects, reduced to the fields that Certferry reads.

Objects that differ only in other fields (our own annotations and status, managed fields) are equal, so that our own
writes trigger no reconcile. Key material is parsed to facts and dropped.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from certferry.core.model.managers import Manager, managers
from certferry.core.x509.pem import Chain, InvalidPem, KeyPair, parse_pair

TLS_TYPES: Final = ("kubernetes.io/tls", "IngressTLS")
"""Secret types that carry a certificate: the standard one and CCE's own."""
OPAQUE: Final = "Opaque"
"""The type of a Secret without a type; it may hold a certificate too."""
MASTER_ANNOTATION: Final = "kubernetes.io/elb.listener-master-ingress"
BALANCER_ID: Final = "kubernetes.io/elb.id"
"""Filled in if ``elb.ip`` names the load balancer (table 1.3)."""
ROTATION_ANNOTATION: Final = "certferry.io/rotation"
AGE_ANNOTATION: Final = "certferry.io/claimed-since"
"""The age of an Ingress before it was re-created: see ``claimed_since``."""
HOSTS_ANNOTATION: Final = "certferry.io/hosts"
RESUME_ANNOTATION: Final = "certferry.io/resume"
"""On a Secret: the fingerprint of a quarantined content that is to be tried again."""
TLS_SECRET: Final = "certferry.io/tls-secret"  # noqa: S105 (a key)
"""On a Service of type LoadBalancer: the Secret whose certificate its HTTPS and TLS ports have."""
TLS_HOSTS: Final = "certferry.io/tls-hosts"
"""The hosts that its clients ask for."""
CLEANUP_FINALIZER: Final = "certferry.io/load-balancer-cleanup"
"""On a Service until its objects on the load balancer are gone."""
MATCH_MODE: Final = "certferry.io/url-match-mode"
PATH_MATCH_MODE: Final = "ingress.beta.kubernetes.io/url-match-mode"
"""CCE's match mode for all paths of an Ingress: a stock API server prunes the `property` of a path."""
_LEGACY_CLASS = "kubernetes.io/ingress.class"
_READ_PREFIXES = (
    "kubernetes.io/elb.",
    "kubernetes.io/ingress.",
    "ingress.beta.kubernetes.io/",
    MATCH_MODE,
    TLS_SECRET,
    TLS_HOSTS,
)
_EPOCH = datetime.fromtimestamp(0, UTC)


class Name(NamedTuple):
    """Namespace and name: the identity of an object within its kind."""

    namespace: str
    name: str
    kind: str = ""
    """Set for an object that claims listeners and is no Ingress, because one of the same name may exist."""

    @property
    def claimant(self) -> str:
        """Return how to name it as an object that claims listeners."""
        return str(self) if self.kind else f"Ingress {self}"

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}".lstrip()


class ObjectRef(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """An object that an Event can be about."""

    kind: str
    namespace: str
    name: str
    uid: str

    @property
    def claimant(self) -> Name:
        """Return the name of an Ingress or Service as an object that claims listeners."""
        return Name(self.namespace, self.name, self.kind.removeprefix("Ingress"))


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """Identity, age and the annotations that Certferry reads."""

    namespace: str
    name: str
    uid: str
    created: datetime
    annotations: Mapping[str, str] = MappingProxyType({})
    kind: str = ""
    """See ``Name.kind``."""

    @property
    def key(self) -> Name:
        """Namespace and name."""
        return Name(self.namespace, self.name, self.kind)


class Backend(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A Service and one of its ports, by number or name."""

    service: str
    port: int | str


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """One path of a rule. `match_mode` is CCE's: STARTS_WITH, EQUAL_TO, REGEX."""

    path: str
    path_type: str
    backend: Backend | None
    match_mode: str | None = None


class IngressRule(msgspec.Struct, frozen=True, kw_only=True):
    """A host ("" for any) and its paths."""

    host: str
    paths: tuple[Path, ...]


class TlsEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A Secret and the hosts it is for; without hosts it is the server certificate."""

    secret: str
    hosts: tuple[str, ...] = ()


class Ingress(msgspec.Struct, frozen=True, kw_only=True):
    """An Ingress, or a Service in the place of one: see ``translate.services.claimants``."""

    meta: Meta
    class_name: str | None
    tls: tuple[TlsEntry, ...] = ()
    rules: tuple[IngressRule, ...] = ()
    default_backend: Backend | None = None

    @property
    def ref(self) -> ObjectRef:
        """Return the reference for problems and Events."""
        return ObjectRef(
            kind=self.meta.kind or "Ingress", namespace=self.meta.namespace, name=self.meta.name, uid=self.meta.uid
        )

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the hosts of the rules, sorted."""
        return tuple(sorted({r.host for r in self.rules if r.host}))


class ReportedStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status and annotations that Certferry wrote on an object, so that nothing is written twice."""

    master: str | None
    rotation: str | None
    hosts: str | None
    loadbalancer: str | None
    claimed_since: str | None
    status: tuple[tuple[str, tuple[tuple[int, str], ...]], ...]
    """(ip, ((port, protocol) …)) …"""
    finalizers: tuple[str, ...] = ()


class ServicePort(msgspec.Struct, frozen=True, kw_only=True):
    """A port of a Service."""

    name: str
    port: int
    node_port: int | None = None
    protocol: str = "TCP"


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A Service's ports and the annotations that describe its pool."""

    meta: Meta
    type: str
    ports: tuple[ServicePort, ...]
    local: bool = False
    """externalTrafficPolicy Local: only nodes with a Pod answer."""
    load_balancer_class: str | None = None
    deleting: bool = False
    """True if it only waits for its finalizers."""

    @property
    def ref(self) -> ObjectRef:
        """Return the reference for problems and Events."""
        return ObjectRef(kind="Service", namespace=self.meta.namespace, name=self.meta.name, uid=self.meta.uid)


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One address behind a Service."""

    address: str
    ready: bool
    node: str = ""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that can be a member: `address` is its InternalIP."""

    name: str
    address: str
    ready: bool


class EndpointSlice(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses behind a Service; `ports` maps port names to numbers."""

    meta: Meta
    service: str
    ports: Mapping[str, int]
    endpoints: tuple[Endpoint, ...]


class SecretProblem(msgspec.Struct, frozen=True, kw_only=True):
    """The reason why a Secret holds no usable certificate."""

    reason: str
    sentence: str


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """The public side of a TLS Secret: a chain, or the reason why there is none."""

    meta: Meta
    type: str
    chain: Chain | None = None
    flaw: SecretProblem | None = None
    manager: Manager | None = None
    """Another tool that manages it."""

    @property
    def tls(self) -> bool:
        """Return whether it is meant to hold a certificate, by its type or by its fields."""
        return self.flaw is None or self.flaw.reason != "NotTLS"

    @property
    def ref(self) -> ObjectRef:
        """Return the reference for problems and Events."""
        return ObjectRef(kind="Secret", namespace=self.meta.namespace, name=self.meta.name, uid=self.meta.uid)


class IngressClass(msgspec.Struct, frozen=True, kw_only=True):
    """An IngressClass and its controller."""

    name: str
    controller: str
    default: bool


class ClusterView(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster at one moment. `slices` is grouped by the Service they belong to."""

    cluster_id: str
    ingresses: Mapping[Name, Ingress] = MappingProxyType({})
    services: Mapping[Name, Service] = MappingProxyType({})
    slices: Mapping[Name, tuple[EndpointSlice, ...]] = MappingProxyType({})
    secrets: Mapping[Name, Secret] = MappingProxyType({})
    classes: Mapping[str, IngressClass] = MappingProxyType({})
    nodes: Mapping[str, Node] | None = None
    """None if Nodes are not watched or the API has none."""
    malformed: Mapping[ObjectRef, str] = MappingProxyType({})
    """The type of the error for each object whose newest version cannot be parsed."""


Json = Mapping[str, Any]


def parse_ingress(obj: Json) -> Ingress:
    """Parse a networking.k8s.io/v1 Ingress."""
    spec = obj.get("spec") or {}
    meta = parse_meta(obj)
    return Ingress(
        meta=meta,
        class_name=spec.get("ingressClassName") or meta.annotations.get(_LEGACY_CLASS),
        tls=tuple(
            TlsEntry(secret=t.get("secretName") or "", hosts=tuple(h.lower() for h in t.get("hosts") or () if h))
            for t in spec.get("tls") or ()
        ),
        rules=tuple(_rule(r) for r in spec.get("rules") or ()),
        default_backend=_backend(spec.get("defaultBackend")),
    )


def parse_reported(obj: Json) -> ReportedStatus:
    """Parse the status and annotations that Certferry wrote on an Ingress or a Service."""
    annotations = obj["metadata"].get("annotations") or {}
    balancer = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return ReportedStatus(
        master=annotations.get(MASTER_ANNOTATION),
        rotation=annotations.get(ROTATION_ANNOTATION),
        hosts=annotations.get(HOSTS_ANNOTATION),
        loadbalancer=annotations.get(BALANCER_ID),
        claimed_since=annotations.get(AGE_ANNOTATION),
        status=tuple(
            (i.get("ip") or "", tuple((p.get("port") or 0, p.get("protocol", "TCP")) for p in i.get("ports") or ()))
            for i in balancer
        ),
        finalizers=tuple(obj["metadata"].get("finalizers") or ()),
    )


def parse_service(obj: Json) -> Service:
    """Parse a v1 Service."""
    spec = obj.get("spec") or {}
    return Service(
        meta=parse_meta(obj),
        type=spec.get("type") or "ClusterIP",
        ports=tuple(
            ServicePort(
                name=p.get("name") or "",
                port=p["port"],
                node_port=p.get("nodePort"),
                protocol=p.get("protocol") or "TCP",
            )
            for p in spec.get("ports") or ()
        ),
        local=spec.get("externalTrafficPolicy") == "Local",
        load_balancer_class=spec.get("loadBalancerClass"),
        deleting="deletionTimestamp" in obj["metadata"],
    )


def parse_node(obj: Json) -> Node:
    """Parse a v1 Node. A cordoned node serves; one with the exclude label, or not Ready, does not."""
    status, labels = obj.get("status") or {}, obj["metadata"].get("labels") or {}
    conditions = {c.get("type"): c.get("status") for c in status.get("conditions") or ()}
    addresses = {a.get("type"): a.get("address") for a in reversed(status.get("addresses") or ())}
    return Node(
        name=obj["metadata"]["name"],
        address=addresses.get("InternalIP") or "",
        ready=conditions.get("Ready") == "True"
        and "node.kubernetes.io/exclude-from-external-load-balancers" not in labels,
    )


def parse_slice(obj: Json) -> EndpointSlice:
    """Parse a discovery.k8s.io/v1 EndpointSlice; an endpoint without a ready condition is ready."""
    endpoints = [
        Endpoint(
            address=address, ready=(e.get("conditions") or {}).get("ready") is not False, node=e.get("nodeName") or ""
        )
        for e in obj.get("endpoints") or ()
        for address in e.get("addresses") or ()
    ]
    labels = obj["metadata"].get("labels") or {}
    return EndpointSlice(
        meta=parse_meta(obj),
        service=labels.get("kubernetes.io/service-name") or "",
        ports={p.get("name") or "": p["port"] for p in obj.get("ports") or () if p.get("port")},
        endpoints=tuple(sorted(endpoints)),
    )


def parse_class(obj: Json) -> IngressClass:
    """Parse a networking.k8s.io/v1 IngressClass."""
    annotations = obj["metadata"].get("annotations") or {}
    return IngressClass(
        name=obj["metadata"]["name"],
        controller=(obj.get("spec") or {}).get("controller") or "",
        default=annotations.get("ingressclass.kubernetes.io/is-default-class") == "true",
    )


def parse_secret(obj: Json) -> tuple[Secret, KeyPair | None]:
    """Return a Secret's public side, and its key pair for a caller that sends it on at once."""
    meta, kind = parse_meta(obj), obj.get("type") or OPAQUE
    manager = next(iter(managers({**obj, "kind": "Secret"})), None)
    data = obj.get("data") or {}
    if kind not in TLS_TYPES and not (kind == OPAQUE and data.get("tls.crt") and data.get("tls.key")):
        needed = (
            "needs tls.crt and tls.key" if kind == OPAQUE else "needs a Secret of type kubernetes.io/tls or IngressTLS"
        )
        flaw = SecretProblem(reason="NotTLS", sentence=f"Its type is {kind}; a certificate {needed}.")
        return Secret(meta=meta, type=kind, flaw=flaw, manager=manager), None
    try:
        pair = parse_pair(_field(data, "tls.crt"), _field(data, "tls.key"), _authorities(data))
    except InvalidPem as defect:
        flaw = SecretProblem(reason=defect.reason, sentence=defect.sentence)
        return Secret(meta=meta, type=kind, flaw=flaw, manager=manager), None
    return Secret(meta=meta, type=kind, chain=pair.chain, manager=manager), pair


def parse_meta(obj: Json) -> Meta:
    """Parse the identity, and those annotations that users write for Certferry."""
    meta = obj["metadata"]
    annotations = {
        k: v
        for k, v in sorted((meta.get("annotations") or {}).items())
        if (k.startswith(_READ_PREFIXES) and k != MASTER_ANNOTATION) or k == RESUME_ANNOTATION
    }
    return Meta(
        namespace=meta.get("namespace") or "",
        name=meta["name"],
        uid=meta.get("uid") or "",
        created=_time(meta.get("creationTimestamp")),
        annotations=annotations,
    )


def _field(data: Json, name: str) -> str:
    what = "certificate" if name == "tls.crt" else "private key"
    try:
        return base64.b64decode(data.get(name) or "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidPem("NotPEM", f"The {what} ({name}) is not text in PEM form.") from None


def _authorities(data: Json) -> str:
    """Return the CA certificates that stand beside the pair; "" if there are none that can be read."""
    try:
        return base64.b64decode(data.get("ca.crt") or "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _rule(rule: Json) -> IngressRule:
    paths = (rule.get("http") or {}).get("paths") or ()
    return IngressRule(
        host=(rule.get("host") or "").lower(),
        paths=tuple(
            Path(
                path=p.get("path") or "/",
                path_type=p.get("pathType") or "ImplementationSpecific",
                backend=_backend(p.get("backend")),
                match_mode=(p.get("property") or {}).get(PATH_MATCH_MODE),
            )
            for p in paths
        ),
    )


def _backend(backend: Json | None) -> Backend | None:
    service = (backend or {}).get("service") or {}
    port = service.get("port") or {}
    number = port.get("number") or port.get("name")
    return Backend(service=service["name"], port=number) if service.get("name") and number else None


def _time(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else _EPOCH
