"""Columns and cells of `kubectl get` for workloads, nodes, Endpoints, accounts and RBAC.

No Pod runs here, so that a Pod shows only its phase and the status that a client wrote.
Upstream: https://github.com/kubernetes/kubernetes/blob/master/pkg/printers/internalversion/printers.go
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from certferry.kube.apiserver.resources.printers import AGE, NAME, Column, age

NODE = (
    NAME,
    Column("Status", description="The status of the node"),
    Column("Roles", description="The roles of the node"),
    AGE,
    Column("Version"),
    Column("Internal-IP", priority=1),
    Column("External-IP", priority=1),
    Column("OS-Image", priority=1),
    Column("Kernel-Version", priority=1),
    Column("Container-Runtime", priority=1),
)
POD = (
    NAME,
    Column("Ready", description="The aggregate readiness state of this pod for accepting traffic."),
    Column("Status", description="The aggregate status of the containers in this pod."),
    Column("Restarts"),
    AGE,
    Column("IP", priority=1),
    Column("Node", priority=1),
    Column("Nominated Node", priority=1),
    Column("Readiness Gates", priority=1),
)
DEPLOYMENT = (
    NAME,
    Column("Ready", description="Number of the pod with ready state"),
    Column("Up-to-date"),
    Column("Available"),
    AGE,
    Column("Containers", priority=1, description="Names of each container in the template."),
    Column("Images", priority=1, description="Images referenced by each container in the template."),
    Column("Selector", priority=1),
)
ENDPOINTS = (NAME, Column("Endpoints"), AGE)
ACCOUNT = (NAME, AGE)
ROLE = (NAME, Column("Created At", type="date"))
BINDING = (
    NAME,
    Column("Role"),
    AGE,
    Column("Users", priority=1),
    Column("Groups", priority=1),
    Column("ServiceAccounts", priority=1),
)
_NONE = "<none>"
_ROLE = "node-role.kubernetes.io/"


def node(o: dict[str, Any], now: datetime) -> list[Any]:
    """Return name, readiness, roles, age, version; wide: addresses and system."""
    status, labels = o["status"], o["metadata"].get("labels", {})
    ready = next((c for c in status.get("conditions", []) if c["type"] == "Ready"), None)
    states = ["Unknown" if ready is None else "Ready" if ready["status"] == "True" else "NotReady"]
    states += ["SchedulingDisabled"] if o["spec"].get("unschedulable") else []
    roles = {k.removeprefix(_ROLE) for k in labels if k.startswith(_ROLE) and k != _ROLE}
    roles |= {v for k, v in labels.items() if k == "kubernetes.io/role" and v}
    addresses = {a["type"]: a["address"] for a in reversed(status.get("addresses", []))}
    info = status["nodeInfo"]
    kernel = info["kernelVersion"] or "<unknown>"
    return [
        o["metadata"]["name"],
        ",".join(states),
        ",".join(sorted(roles)) or _NONE,
        age(o, now),
        info["kubeletVersion"],
        addresses.get("InternalIP", _NONE),
        addresses.get("ExternalIP", _NONE),
        info["osImage"] or "<unknown>",
        kernel + (f" ({info['architecture']})" if info["architecture"] else ""),
        info["containerRuntimeVersion"] or "<unknown>",
    ]


def pod(o: dict[str, Any], now: datetime) -> list[Any]:
    """Return name, readiness, status, restarts, age; wide: node and address."""
    spec, status = o["spec"], o["status"]
    seen = status.get("containerStatuses", [])
    ready = sum(1 for c in seen if c["ready"] and "running" in c["state"])
    reason = status.get("reason") or status.get("phase", "")
    for state in (c["state"] for c in reversed(seen)):
        ended = state.get("waiting") or state.get("terminated") or {}
        reason = ended.get("reason") or reason
    if o["metadata"].get("deletionTimestamp"):
        reason = "Terminating"
    return [
        o["metadata"]["name"],
        f"{ready}/{len(spec['containers'] or [])}",
        reason,
        str(sum(c["restartCount"] for c in seen)),
        age(o, now),
        next((p["ip"] for p in status.get("podIPs", [])), "") or _NONE,
        spec.get("nodeName") or _NONE,
        status.get("nominatedNodeName") or _NONE,
        _NONE,
    ]


def deployment(o: dict[str, Any], now: datetime) -> list[Any]:
    """Return name, replica counts, age; wide: containers, images, selector."""
    spec, status = o["spec"], o["status"]
    containers = spec["template"]["spec"]["containers"] or []
    return [
        o["metadata"]["name"],
        f"{status.get('readyReplicas', 0)}/{spec['replicas']}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age(o, now),
        ",".join(c["name"] for c in containers),
        ",".join(c.get("image", "") for c in containers),
        _selector(spec.get("selector") or {}),
    ]


def endpoints(o: dict[str, Any], now: datetime) -> list[Any]:
    """Return name, the first addresses, age."""
    found = [address for subset in o.get("subsets", []) for address in _addresses(subset)]
    shown = ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "")
    return [o["metadata"]["name"], shown if o.get("subsets") else _NONE, age(o, now)]


def account(o: dict[str, Any], now: datetime) -> list[Any]:
    """Return name, age."""
    return [o["metadata"]["name"], age(o, now)]


def role(o: dict[str, Any], now: datetime) -> list[Any]:
    """Return name and creation time."""
    return [o["metadata"]["name"], o["metadata"]["creationTimestamp"]]


def binding(o: dict[str, Any], now: datetime) -> list[Any]:
    """Return name, role, age; wide: subjects."""
    subjects = o.get("subjects", [])

    def of(kind: str) -> str:
        listed = [s for s in subjects if s["kind"] == kind]
        return ", ".join(f"{s.get('namespace', '')}/{s['name']}" if "Acc" in kind else s["name"] for s in listed)

    given = [of("User"), of("Group"), of("ServiceAccount")]
    return [o["metadata"]["name"], f"{o['roleRef']['kind']}/{o['roleRef']['name']}", age(o, now), *given]


def _addresses(subset: dict[str, Any]) -> list[str]:
    ips = [a["ip"] for a in subset.get("addresses", [])]
    ports = [p["port"] for p in subset.get("ports", [])]
    return [f"[{ip}]:{p}" if ":" in ip else f"{ip}:{p}" for p in ports for ip in ips] if ports else ips


def _selector(selector: dict[str, Any]) -> str:
    parts = [f"{k}={v}" for k, v in selector.get("matchLabels", {}).items()]
    for wanted in selector.get("matchExpressions", []):
        key, values = wanted["key"], ",".join(sorted(wanted.get("values") or []))
        match wanted["operator"]:
            case "Exists":
                parts.append(key)
            case "DoesNotExist":
                parts.append(f"!{key}")
            case operator:
                parts.append(f"{key} {operator.lower()} ({values})")
    return ",".join(sorted(parts)) or _NONE
