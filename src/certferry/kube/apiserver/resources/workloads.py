"""Defaults and validation of Pod and Deployment.

No Pod runs here. Only the rules that users meet when they apply a manifest are checked: names, images, ports,
selectors and immutable fields.
Upstream: https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/core/validation/validation.go and
https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/apps/validation/validation.go
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from certferry.kube.apiserver.errors import (
    FieldError,
    all_invalid,
    duplicate,
    forbidden_field,
    immutable,
    invalid,
    one_of,
    required,
    unsupported,
)
from certferry.kube.apiserver.resources import names

_POD = {"dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler"}
_CONTAINER = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_POLICIES = ("Always", "IfNotPresent", "Never")
_RESTARTS = ("Always", "OnFailure", "Never")
_MODE = 420
_FIXED = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def default_pod(pod: dict[str, Any]) -> None:
    """Set the defaults of the real server."""
    spec = pod["spec"]
    _default_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for container in _containers(spec):
        limits = container["resources"].get("limits")
        if limits:
            container["resources"]["requests"] = limits | container["resources"].get("requests", {})


def prepare_pod(pod: dict[str, Any]) -> None:
    """Set the phase Pending and the QoS class."""
    spec = pod["spec"]
    pod["status"].setdefault("phase", "Pending")
    pod["status"].setdefault("qosClass", _qos_class(spec))


def default_deployment(deployment: dict[str, Any]) -> None:
    """Set the defaults of replicas, strategy, revision history and template."""
    spec = deployment["spec"]
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec["strategy"]
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    _default_spec(spec["template"]["spec"])


def _default_spec(spec: dict[str, Any]) -> None:
    for key, value in _POD.items():
        spec.setdefault(key, value)
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in _containers(spec):
        _default_container(container)
    for volume in spec.get("volumes", []):
        for key in ("secret", "configMap", "projected", "downwardAPI"):
            if key in volume:
                volume[key].setdefault("defaultMode", _MODE)


def _default_container(container: dict[str, Any]) -> None:
    for key, value in _CONTAINER.items():
        container.setdefault(key, value)
    tag = container.get("image", "").rpartition("/")[2].partition(":")[2]
    latest = tag in ("", "latest") and "@" not in container.get("image", "")
    container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    for port in container.get("ports", []):
        port.setdefault("protocol", "TCP")
    for probe in (container[p] for p in _PROBES if p in container):
        for key, number in _PROBE.items():
            probe.setdefault(key, number)
        if "httpGet" in probe:
            probe["httpGet"].setdefault("scheme", "HTTP")
            probe["httpGet"].setdefault("path", "/")
    for variable in container.get("env", []):
        field = variable.get("valueFrom", {}).get("fieldRef")
        if field is not None:
            field.setdefault("apiVersion", "v1")


def _containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]


def _qos_class(spec: dict[str, Any]) -> str:
    resources = [c["resources"] for c in _containers(spec)]
    if not any(r.get("limits") or r.get("requests") for r in resources):
        return "BestEffort"
    full = all({"cpu", "memory"} <= r.get("limits", {}).keys() for r in resources)
    return "Guaranteed" if full and all(r.get("requests") == r["limits"] for r in resources) else "Burstable"


def check_pod(pod: dict[str, Any], old: dict[str, Any] | None) -> Iterator[FieldError]:
    """Yield the errors of a Pod; `old` is None for a new one."""
    yield from _spec(pod["spec"], "spec")
    if old is not None and _immutable_part(pod["spec"]) != _immutable_part(old["spec"]):
        yield forbidden_field("spec", _FIXED)


def _immutable_part(spec: dict[str, Any]) -> dict[str, Any]:
    rest = copy.deepcopy(spec)
    for key in ("activeDeadlineSeconds", "tolerations"):
        rest.pop(key, None)
    for container in _containers(rest):
        container.pop("image", None)
    return rest


def check_deployment(deployment: dict[str, Any], old: dict[str, Any] | None) -> Iterator[FieldError]:
    """Yield the errors of a Deployment; `old` is None for a new one."""
    spec = deployment["spec"]
    selector, labels = spec.get("selector"), spec["template"]["metadata"].get("labels", {})
    if spec["replicas"] < 0:
        yield invalid("spec.replicas", spec["replicas"], "must be greater than or equal to 0")
    if selector is None:
        yield required("spec.selector")
        detail = "`selector` does not match template `labels`"
        yield invalid("spec.template.metadata.labels", labels or None, detail)
    elif not selector:
        yield invalid("spec.selector", {}, "empty selector is invalid for deployment")
    elif not selector.get("matchLabels", {}).items() <= labels.items():
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    if old is not None and selector != old["spec"].get("selector"):
        yield immutable("spec.selector", selector)
    yield from one_of("spec.strategy.type", spec["strategy"]["type"], ("Recreate", "RollingUpdate"))
    yield from _spec(spec["template"]["spec"], "spec.template.spec")
    if (policy := spec["template"]["spec"]["restartPolicy"]) != "Always":
        yield unsupported("spec.template.spec.restartPolicy", policy, ("Always",))


def _spec(spec: dict[str, Any], path: str) -> Iterator[FieldError]:
    if not spec.get("containers"):
        yield required(f"{path}.containers")
    volumes = [v["name"] for v in spec.get("volumes", [])]
    for number, volume in enumerate(volumes):
        yield from all_invalid(f"{path}.volumes[{number}].name", volume, names.label(volume))
        if volume in volumes[:number]:
            yield duplicate(f"{path}.volumes[{number}].name", volume)
    seen: set[str] = set()
    for key in ("initContainers", "containers"):
        for number, container in enumerate(spec.get(key) or []):
            yield from _container(container, f"{path}.{key}[{number}]", set(volumes), seen)
    yield from one_of(f"{path}.restartPolicy", spec["restartPolicy"], _RESTARTS)


def _container(container: dict[str, Any], path: str, volumes: set[str], seen: set[str]) -> Iterator[FieldError]:
    name = container["name"]
    if not name:
        yield required(f"{path}.name")
    yield from all_invalid(f"{path}.name", name, names.label(name) if name else ())
    if name in seen:
        yield duplicate(f"{path}.name", name)
    seen.add(name)
    if not container.get("image"):
        yield required(f"{path}.image")
    for number, port in enumerate(container.get("ports", [])):
        where, value = f"{path}.ports[{number}].containerPort", port["containerPort"]
        if not value:
            yield required(where)
        yield from all_invalid(where, value, names.port_number(value) if value else ())
    for number, mount in enumerate(container.get("volumeMounts", [])):
        if mount["name"] not in volumes:
            yield FieldError(
                f"{path}.volumeMounts[{number}].name", "FieldValueNotFound", f'Not found: "{mount["name"]}"'
            )
        if not mount["mountPath"]:
            yield required(f"{path}.volumeMounts[{number}].mountPath")
    yield from one_of(f"{path}.imagePullPolicy", container["imagePullPolicy"], _POLICIES)
