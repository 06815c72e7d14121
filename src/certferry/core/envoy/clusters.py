"""Envoy clusters and their endpoints, from pools and members."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

from certferry.core.envoy.options import BUFFER
from certferry.core.envoy.resource import ADS, TYPE, XdsResource, remembered
from certferry.core.model.elb import LAYER_4, HealthMonitor, Member, Pool

SERVED: Final = frozenset({"HTTP", "HTTPS", "GRPC", *LAYER_4})
"""Pool protocols that the data plane serves."""
_TLS: Final = {
    "name": "envoy.transport_sockets.tls",
    "typed_config": {"@type": f"{TYPE}envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"},
}
_RAW: Final = {
    "name": "envoy.transport_sockets.raw_buffer",
    "typed_config": {"@type": f"{TYPE}envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"},
}
_OVER_TLS: Final = frozenset({"HTTPS", "TLS"})
_MANY: Final = 100_000
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@remembered
def cluster(pool_id: str, pool: Pool, max_connections: int, proxied: bool = False) -> XdsResource:
    """Build the cluster of a pool; its members come by ``endpoints``. `proxied`: they expect the PROXY protocol."""
    body: dict[str, Any] = {
        "name": pool_id,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ADS},
        "connect_timeout": "5s",
        "per_connection_buffer_limit_bytes": BUFFER,
        "lb_policy": _algorithm(pool),
        "ignore_health_on_host_removal": True,
        # As the vendor does: if all members fail their check, requests get a 503.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        # The vendor has no such limits; Envoy's own (1024) would be met as unexplained 503s. But an Envoy without
        # files for further connections ends.
        "circuit_breakers": {
            "thresholds": [{"max_connections": max_connections, "max_pending_requests": _MANY, "max_requests": _MANY}]
        },
    }
    if pool.protocol not in LAYER_4:
        body["typed_extension_protocol_options"] = {_HTTP_OPTIONS: _protocol(pool.protocol)}
    if pool.slow_start is not None and pool.slow_start.enable:
        window = {"slow_start_config": {"slow_start_window": f"{pool.slow_start.duration}s"}}
        if body["lb_policy"] == "ROUND_ROBIN":
            body["round_robin_lb_config"] = window
        elif body["lb_policy"] == "LEAST_REQUEST":
            body["least_request_lb_config"] = window
    own = _TLS if pool.protocol in _OVER_TLS else _RAW
    if own is _TLS:
        # As the vendor does: traffic to members is encrypted, their certificates are not verified.
        body["transport_socket"] = _TLS
    if proxied:
        body["transport_socket"] = _introduced(own)
    # Envoy cannot check datagrams: members of UDP pools get their share without.
    if (monitor := pool.healthmonitor) is not None and monitor.type != "UDP_CONNECT":
        body["health_checks"] = [_health(monitor)]
        other = _TLS if monitor.type in _OVER_TLS else _RAW
        if other is not own:
            # The check has a transport of its own, because it differs from that of requests.
            match = {"check": True}
            other = _introduced(other) if proxied else other
            body["transport_socket_matches"] = [{"name": "check", "match": match, "transport_socket": other}]
            body["health_checks"][0]["transport_socket_match_criteria"] = match
    return XdsResource(body)


@remembered
def endpoints(pool_id: str, members: tuple[Member, ...], monitor_port: int | None) -> XdsResource:
    """Build the endpoints of a pool, without members of weight 0 or an invalid address, which Envoy rejects."""
    hosts = [
        _endpoint(m, monitor_port)
        for m in sorted(members, key=lambda m: (m.address, m.protocol_port))
        if m.weight > 0 and _is_address(m.address)
    ]
    body: dict[str, Any] = {"cluster_name": pool_id}
    return XdsResource(body | ({"endpoints": [{"lb_endpoints": hosts}]} if hosts else {}))


def _introduced(socket: dict[str, Any]) -> dict[str, Any]:
    """Return `socket` behind a line with the client's address (PROXY protocol, version 1)."""
    kind = f"{TYPE}envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
    config = {"@type": kind, "config": {"version": "V1"}, "transport_socket": socket}
    return {"name": "envoy.transport_sockets.upstream_proxy_protocol", "typed_config": config}


def _algorithm(pool: Pool) -> str:
    if pool.by_address:
        return "MAGLEV"
    return "LEAST_REQUEST" if pool.lb_algorithm == "LEAST_CONNECTIONS" else "ROUND_ROBIN"


def _protocol(protocol: str) -> dict[str, Any]:
    version = "http2_protocol_options" if protocol == "GRPC" else "http_protocol_options"
    options: dict[str, Any] = {
        "@type": TYPE + _HTTP_OPTIONS,
        # Under the 5 s after which common backends close an idle connection: the race is theirs to lose.
        "common_http_protocol_options": {"idle_timeout": "4s"},
        "explicit_http_config": {version: {}},
    }
    if protocol == "HTTPS":  # members that have several certificates choose by name
        options["upstream_http_protocol_options"] = {"auto_sni": True}
    return options


def _endpoint(member: Member, monitor_port: int | None) -> dict[str, Any]:
    address = {"socket_address": {"address": member.address, "port_value": member.protocol_port}}
    endpoint: dict[str, Any] = {"address": address}
    if monitor_port:
        endpoint["health_check_config"] = {"port_value": monitor_port}
    return {"endpoint": endpoint, "load_balancing_weight": member.weight}


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _health(monitor: HealthMonitor) -> dict[str, Any]:
    body: dict[str, Any] = {
        "timeout": f"{monitor.timeout}s",
        "interval": f"{monitor.delay}s",
        "no_traffic_interval": f"{monitor.delay}s",
        "unhealthy_threshold": monitor.max_retries_down,
        "healthy_threshold": monitor.max_retries,
    }
    if monitor.type == "GRPC":
        return body | {"grpc_health_check": {"authority": monitor.domain_name or "health.check"}}
    if monitor.type not in {"HTTP", "HTTPS"}:
        return body | {"tcp_health_check": {}}
    check: dict[str, Any] = {"path": monitor.url_path or "/", "expected_statuses": _statuses(monitor.expected_codes)}
    if monitor.domain_name:
        check["host"] = monitor.domain_name
    if monitor.http_method and monitor.http_method != "GET":
        check["method"] = monitor.http_method
    return body | {"http_health_check": check}


def _statuses(codes: str | None) -> list[dict[str, int]]:
    """Convert ``200``, ``200,202`` or ``200-204`` to half-open ranges."""
    ranges = re.findall(r"(\d{3})(?:\s*-\s*(\d{3}))?", codes or "200")
    return [{"start": int(first), "end": int(last or first) + 1} for first, last in ranges]
