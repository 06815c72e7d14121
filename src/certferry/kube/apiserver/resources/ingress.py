"""Defaults and validation of Ingress and IngressClass.

Upstream: https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/networking/validation/validation.go
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from certferry.kube.apiserver.errors import (
    FieldError,
    all_invalid,
    forbidden_field,
    immutable,
    invalid,
    required,
    too_long,
    unsupported,
)
from certferry.kube.apiserver.resources import names

_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_SUFFIXES = ("/..", "/.")
_CLASS = "kubernetes.io/ingress.class"


def check_ingress(ingress: dict[str, Any], old: dict[str, Any] | None) -> Iterator[FieldError]:
    """Yield the errors of an Ingress; `old` is None for a new one."""
    spec = ingress["spec"]
    if not spec.get("rules") and "defaultBackend" not in spec:
        yield invalid("spec", spec.get("rules"), "either `defaultBackend` or `rules` must be specified")
    if "defaultBackend" in spec:
        yield from _backend(spec["defaultBackend"], "spec.defaultBackend")
    for number, rule in enumerate(spec.get("rules", [])):
        yield from _rule(rule, f"spec.rules[{number}]")
    for number, tls in enumerate(spec.get("tls", [])):
        yield from _tls(tls, f"spec.tls[{number}]")
    chosen = spec.get("ingressClassName")
    if chosen is not None:
        yield from all_invalid("spec.ingressClassName", chosen, names.subdomain(chosen))
    annotated = ingress["metadata"].get("annotations", {}).get(_CLASS)
    if old is None and None not in (annotated, chosen) and annotated != chosen:
        yield invalid(f"annotations.{_CLASS}", annotated, "must match `ingressClassName` when both are specified")


def check_class(ingress_class: dict[str, Any], old: dict[str, Any] | None) -> Iterator[FieldError]:
    """Yield the errors of an IngressClass; `old` is None for a new one."""
    spec = ingress_class.get("spec", {})
    controller = spec.get("controller", "")
    if old is not None and controller != old.get("spec", {}).get("controller", ""):
        yield immutable("spec.controller", controller)
    if len(controller) > 250:
        yield too_long("spec.controller", 250)
    if not controller:
        yield required("spec.controller")
    else:
        domain, slash, path = controller.partition("/")
        if not (slash and path):
            yield invalid("spec.controller", controller, 'must be a domain-prefixed path (such as "acme.io/foo")')
        yield from all_invalid("spec.controller", domain, names.subdomain(domain))
    if "parameters" in spec:
        yield from _parameters(spec["parameters"], "spec.parameters")


def default_class(ingress_class: dict[str, Any]) -> None:
    """Set the scope of the parameters to Cluster."""
    parameters = ingress_class["spec"].get("parameters")
    if parameters is not None:
        parameters.setdefault("scope", "Cluster")


def _parameters(reference: dict[str, Any], path: str) -> Iterator[FieldError]:
    yield from _reference(reference, path)
    scope = reference.get("scope")
    if scope not in ("Cluster", "Namespace"):
        yield unsupported(f"{path}.scope", str(scope), ("Cluster", "Namespace"))
    elif scope == "Namespace" and "namespace" not in reference:
        yield required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'")
    elif scope == "Cluster" and "namespace" in reference:
        yield forbidden_field(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'")


def _rule(rule: dict[str, Any], path: str) -> Iterator[FieldError]:
    host = rule.get("host", "")
    if host:
        if names.address(host):
            yield invalid(f"{path}.host", host, "must be a DNS name, not an IP address")
        yield from all_invalid(f"{path}.host", host, names.host(host))
    if "http" not in rule:
        return
    paths = rule["http"].get("paths") or []
    if not paths:
        yield required(f"{path}.http.paths")
    for number, found in enumerate(paths):
        yield from _path(found, f"{path}.http.paths[{number}]")


def _path(backend: dict[str, Any], path: str) -> Iterator[FieldError]:
    kind, text = backend.get("pathType"), backend.get("path", "")
    if kind is None:
        yield required(f"{path}.pathType", "pathType must be specified")
        return
    if kind not in _PATH_TYPES:
        yield unsupported(f"{path}.pathType", kind, _PATH_TYPES)
    elif not text.startswith("/") and (text or kind != "ImplementationSpecific"):
        yield invalid(f"{path}.path", text, "must be an absolute path")
    if kind in ("Exact", "Prefix"):
        for sequence in _SEQUENCES:
            if sequence in text:
                yield invalid(f"{path}.path", text, f"must not contain '{sequence}'")
        for suffix in _SUFFIXES:
            if text.endswith(suffix):
                yield invalid(f"{path}.path", text, f"cannot end with '{suffix}'")
    yield from _backend(backend.get("backend", {}), f"{path}.backend")


def _backend(backend: dict[str, Any], path: str) -> Iterator[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        yield invalid(path, "", "cannot set both resource and service backends")
    elif resource is not None:
        yield from _reference(resource, f"{path}.resource")
    elif service is not None:
        yield from _service(service, path)
    else:
        yield invalid(path, "", "resource or service backend is required")


def _service(service: dict[str, Any], path: str) -> Iterator[FieldError]:
    name = service.get("name", "")
    if not name:
        yield required(f"{path}.service.name")
    else:
        yield from all_invalid(f"{path}.service.name", name, names.label(name))
    port = service.get("port", {})
    number, named = port.get("number", 0), port.get("name", "")
    if number and named:
        yield invalid(path, "", "cannot set both port name & port number")
    elif named:
        yield from all_invalid(f"{path}.service.port.name", named, names.port_name(named))
    elif number:
        yield from all_invalid(f"{path}.service.port.number", number, names.port_number(number))
    else:
        yield required(path, "port name or number is required")


def _reference(reference: dict[str, Any], path: str) -> Iterator[FieldError]:
    if "apiGroup" in reference:
        yield from all_invalid(f"{path}.apiGroup", reference["apiGroup"], names.subdomain(reference["apiGroup"]))
    for key in ("kind", "name"):
        if not reference.get(key):
            yield required(f"{path}.{key}")


def _tls(tls: dict[str, Any], path: str) -> Iterator[FieldError]:
    for number, host in enumerate(tls.get("hosts", [])):
        yield from all_invalid(f"{path}.hosts[{number}]", host, names.host(host))
    secret = tls.get("secretName", "")
    if secret:
        yield from all_invalid(f"{path}.secretName", secret, names.subdomain(secret))
