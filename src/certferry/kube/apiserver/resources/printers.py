"""Columns and cells of `kubectl get`. `now` is an argument, because the server computes Age.

Upstream: https://github.com/kubernetes/kubernetes/blob/master/pkg/printers/internalversion/printers.go
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

Cells = Callable[[dict[str, Any], datetime], list[Any]]


class Column(msgspec.Struct, frozen=True):
    """One column; priority 1 appears only with `-o wide`."""

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""


NAME = Column("Name", format="name", description="Name must be unique within a namespace.")
AGE = Column(
    "Age", description="CreationTimestamp is a timestamp representing the server time when this object was created."
)

NAMESPACE = (NAME, Column("Status", description="The status of the namespace"), AGE)
SECRET = (NAME, Column("Type"), Column("Data"), AGE)
CONFIG_MAP = (NAME, Column("Data"), AGE)
SERVICE = (
    NAME,
    Column("Type"),
    Column("Cluster-IP"),
    Column("External-IP"),
    Column("Port(s)"),
    AGE,
    Column("Selector", priority=1),
)
ENDPOINT_SLICE = (NAME, Column("AddressType"), Column("Ports"), Column("Endpoints"), AGE)
EVENT = (
    Column("Last Seen"),
    Column("Type"),
    Column("Reason"),
    Column("Object"),
    Column("Subobject", priority=1),
    Column("Source", priority=1),
    Column("Message"),
    Column("First Seen", priority=1),
    Column("Count", priority=1),
    Column("Name", format="name", priority=1),
)
INGRESS = (NAME, Column("Class"), Column("Hosts"), Column("Address"), Column("Ports"), AGE)
INGRESS_CLASS = (NAME, Column("Controller"), Column("Parameters"), AGE)
LEASE = (NAME, Column("Holder"), AGE)


def namespace(o: dict[str, Any], now: datetime) -> list[Any]:
    """Return name, phase, age."""
    return [_name(o), o.get("status", {}).get("phase", ""), age(o, now)]


def secret(o: dict[str, Any], now: datetime) -> list[Any]:
    """Return name, type, number of keys, age."""
    return [_name(o), o["type"], len(o.get("data", {})), age(o, now)]


def config_map(o: dict[str, Any], now: datetime) -> list[Any]:
    """Return name, number of keys, age."""
    return [_name(o), len(o.get("data", {})) + len(o.get("binaryData", {})), age(o, now)]


def service(o: dict[str, Any], now: datetime) -> list[Any]:
    """Return name, type, addresses, ports, age, selector."""
    spec = o["spec"]
    selector = ",".join(f"{k}={v}" for k, v in sorted(spec.get("selector", {}).items())) or "<none>"
    address = (spec.get("clusterIPs") or ["<none>"])[0]
    ports = ",".join(map(_port, spec.get("ports", []))) or "<none>"
    return [_name(o), spec["type"], address, _external(o), ports, age(o, now), selector]


def endpoint_slice(o: dict[str, Any], now: datetime) -> list[Any]:
    """Return name, address type, ports, addresses, age."""
    ports = [str(p["port"]) if "port" in p else p["name"] for p in o["ports"] or []]
    addresses = [a for e in o["endpoints"] or [] for a in e["addresses"]]
    return [_name(o), o["addressType"], _some(ports), _some(addresses), age(o, now)]


def event(o: dict[str, Any], now: datetime) -> list[Any]:
    """Return time, type, reason, object and message; times fall back as upstream."""
    first = since(o.get("firstTimestamp") or o.get("eventTime"), now)
    last = since(o["lastTimestamp"], now) if o.get("lastTimestamp") else first
    count = o.get("count") or 1
    if series := o.get("series"):
        last, count = since(series.get("lastObservedTime"), now), series.get("count", 0)
    involved, source = o["involvedObject"], o["source"]
    target = involved.get("kind", "").lower() + (f"/{involved['name']}" if involved.get("name") else "")
    component = source.get("component") or o["reportingComponent"]
    host = source.get("host") or o["reportingInstance"]
    told_by = f"{component}, {host}" if host else component
    message = o.get("message", "").strip()
    path = involved.get("fieldPath", "")
    return [last, o.get("type", ""), o.get("reason", ""), target, path, told_by, message, first, count, _name(o)]


def ingress(o: dict[str, Any], now: datetime) -> list[Any]:
    """Return name, class, hosts, address, ports, age."""
    spec = o["spec"]
    rules = spec.get("rules", [])
    hosts = [r["host"] for r in rules if r.get("host")]
    shown = ",".join(hosts[:3]) or "*"
    if len(hosts) > 3:
        shown += f" + {len(rules) - 3} more..."
    ports = "80, 443" if spec.get("tls") else "80"
    return [_name(o), spec.get("ingressClassName", "<none>"), shown, _balancer(o), ports, age(o, now)]


def ingress_class(o: dict[str, Any], now: datetime) -> list[Any]:
    """Return name, controller, parameters, age."""
    spec = o["spec"]
    shown = "<none>"
    if (found := spec.get("parameters")) is not None:
        group = f".{found['apiGroup']}" if "apiGroup" in found else ""
        shown = f"{found['kind']}{group}/{found['name']}"
    return [_name(o), spec.get("controller", ""), shown, age(o, now)]


def lease(o: dict[str, Any], now: datetime) -> list[Any]:
    """Return name, holder, age."""
    return [_name(o), o.get("spec", {}).get("holderIdentity", ""), age(o, now)]


def age(o: dict[str, Any], now: datetime) -> str:
    """Return the object's age."""
    return since(o["metadata"].get("creationTimestamp"), now)


def since(then: str | None, now: datetime) -> str:
    """Format the time since an instant.

    Upstream: https://github.com/kubernetes/apimachinery/blob/master/pkg/util/duration/duration.go
    """
    if not then:
        return "<unknown>"
    seconds = int((now - datetime.fromisoformat(then).astimezone(UTC)).total_seconds())
    if seconds < -1:
        return "<invalid>"
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d") if days < 365 * 8 else f"{days // 365}y"


def _two(high: int, unit: str, low: int, small: str) -> str:
    return f"{high}{unit}{low}{small}" if low else f"{high}{unit}"


def _name(o: dict[str, Any]) -> str:
    return str(o["metadata"]["name"])


def _port(port: dict[str, Any]) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port['port']}{node}/{port['protocol']}"


def _external(o: dict[str, Any]) -> str:
    spec = o["spec"]
    external = spec.get("externalIPs", [])
    if spec["type"] == "ExternalName":
        return str(spec.get("externalName", ""))
    if spec["type"] == "LoadBalancer":
        balanced = _balancer(o)
        return ",".join([*balanced.split(","), *external] if balanced else external) or "<pending>"
    return ",".join(external) or "<none>"


def _balancer(o: dict[str, Any]) -> str:
    entries = o.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    return ",".join(sorted({e.get("ip") or e.get("hostname", "") for e in entries} - {""}))


def _some(values: list[str]) -> str:
    shown = ",".join(values[:3]) or "<unset>"
    return shown + (f" + {len(values) - 3} more..." if len(values) > 3 else "")
