"""Apply manifests to a view of a cluster, for ``certferry plan``.

Objects that the manifests do not mention stay. Without an ELB, ``assumed`` creates the objects that the manifests refer
to by id.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from certferry.core.model.claimed_since import restored
from certferry.core.model.elb import Certificate, LoadBalancer, State
from certferry.core.model.kubernetes import (
    ClusterView,
    EndpointSlice,
    IngressClass,
    Name,
    Node,
    ObjectRef,
    parse_class,
    parse_ingress,
    parse_node,
    parse_secret,
    parse_service,
    parse_slice,
)
from certferry.core.translate.ingress_annotations import Values
from certferry.core.translate.ingress_annotations import read as read_annotations
from certferry.core.translate.services.listener_annotations import read as read_of_service

Json = Mapping[str, Any]

_PARSERS: Final[Mapping[str, Callable[[Json], Any]]] = {
    "EndpointSlice": parse_slice,
    "Ingress": lambda obj: restored(parse_ingress(obj), obj, None),
    "IngressClass": parse_class,
    "Node": parse_node,
    "Secret": lambda obj: parse_secret(obj)[0],
    "Service": parse_service,
}
"""The kinds that matter to a load balancer; others are ignored."""
_LATEST = "9999-12-31T23:59:59+00:00"
"""The creation time of an object that does not exist yet: it is the youngest."""


def objects(documents: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield the objects in YAML documents, and the items of Lists."""
    for document in documents:
        if not isinstance(document, dict):
            continue
        if str(document.get("kind", "")).endswith("List") and isinstance(document.get("items"), list):
            yield from objects(document["items"])
        elif str(document.get("kind")) in _PARSERS and isinstance(document.get("metadata"), dict):
            yield document


def overlaid(base: ClusterView, given: Iterable[Json]) -> ClusterView:
    """Return `base` with the objects of `given` applied. Those that cannot be parsed are in ``malformed`` of the result."""
    parts: dict[str, dict[Any, Any]] = {
        "Ingress": dict(base.ingresses),
        "Service": dict(base.services),
        "Secret": dict(base.secrets),
        "IngressClass": dict(base.classes),
        "Node": dict(base.nodes or {}),
    }
    slices: dict[Name, dict[Name, EndpointSlice]] = {
        service: {s.meta.key: s for s in pieces} for service, pieces in base.slices.items()
    }
    malformed = dict(base.malformed)
    for manifest in given:
        try:
            obj = _complete(manifest, base)
            parsed = _PARSERS[obj["kind"]](obj)
        except Exception as error:  # noqa: BLE001 (a malformed object affects only itself)
            malformed[_ref(manifest)] = type(error).__name__
            continue
        if isinstance(parsed, EndpointSlice):
            service = Name(parsed.meta.namespace, parsed.service)
            slices.setdefault(service, {})[parsed.meta.key] = parsed
        else:
            key = parsed.name if isinstance(parsed, IngressClass | Node) else parsed.meta.key
            parts[obj["kind"]][key] = parsed
    return msgspec.structs.replace(
        base,
        ingresses=MappingProxyType(parts["Ingress"]),
        services=MappingProxyType(parts["Service"]),
        secrets=MappingProxyType(parts["Secret"]),
        classes=MappingProxyType(parts["IngressClass"]),
        nodes=MappingProxyType(parts["Node"]) if parts["Node"] else base.nodes,
        malformed=MappingProxyType(malformed),
        slices=MappingProxyType({name: tuple(pieces[k] for k in sorted(pieces)) for name, pieces in slices.items()}),
    )


def assumed(view: ClusterView, default_loadbalancer: str | None = None) -> State:
    """Return an ELB state with every object that the Ingresses and Services of `view` refer to by id or address."""
    balancers: dict[str, LoadBalancer] = {}
    certificates: dict[str, Certificate] = {}
    groups: dict[str, tuple[str, ...]] = {}
    if default_loadbalancer:
        balancers[default_loadbalancer] = LoadBalancer(id=default_loadbalancer, name=default_loadbalancer)
    claiming: list[Values] = [read_annotations(ingress)[0] for ingress in view.ingresses.values()]
    claiming += [read_of_service(s)[0] for s in view.services.values() if s.type == "LoadBalancer"]
    for values in claiming:
        if values.id:
            balancers[values.id] = LoadBalancer(id=values.id, name=values.id)
        elif values.ip:
            balancers[f"at-{values.ip}"] = LoadBalancer(id=f"at-{values.ip}", name=values.ip, vip_address=values.ip)
        for ref in (*(values.tls_certificate_ids or ()), *(values.sni_certificate_ids or ())):
            certificates[ref] = Certificate(id=ref, chain=None, name=ref, domain=(f"domain-of-{ref}",))
        if values.client_ca_id:
            certificates[values.client_ca_id] = Certificate(id=values.client_ca_id, chain=None, type="client")
        groups |= dict.fromkeys(values.acl_id or (), ())
    return State(loadbalancers=balancers, certificates=certificates, ipgroups=groups)


def _complete(manifest: Json, base: ClusterView) -> dict[str, Any]:
    """Return `manifest` with the defaults of a server: namespace, uid, creation time."""
    meta = dict(manifest["metadata"])
    kind = manifest["kind"]
    if kind not in ("IngressClass", "Node"):
        meta.setdefault("namespace", "default")
    present = _present(kind, Name(meta.get("namespace") or "", meta["name"]), base)
    if present is not None:
        meta["uid"], meta["creationTimestamp"] = present.uid, present.created.isoformat()
    meta.setdefault("uid", f"new-{meta.get('namespace', '')}-{meta['name']}")
    meta.setdefault("creationTimestamp", _LATEST)
    obj = {**manifest, "metadata": meta}
    if kind == "Secret":
        plain = {k: base64.b64encode(v.encode()).decode() for k, v in (obj.get("stringData") or {}).items()}
        obj["data"] = {**(obj.get("data") or {}), **plain}
    return obj


def _ref(manifest: Json) -> ObjectRef:
    """Return the reference of an object that cannot be parsed."""
    meta = manifest.get("metadata") or {}
    namespace, name, uid = (str(meta.get(field) or "") for field in ("namespace", "name", "uid"))
    return ObjectRef(kind=str(manifest.get("kind")), namespace=namespace, name=name, uid=uid)


def _present(kind: str, name: Name, base: ClusterView) -> Any:
    found: Any = {"Ingress": base.ingresses, "Service": base.services, "Secret": base.secrets}.get(kind, {})
    return found[name].meta if name in found else None
