"""Envoy's command line and bootstrap, for our own Envoy and for remote ones."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec

from certferry.settings import EnvoyOptions

_TYPE: Final = "type.googleapis.com/"
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CONNECTIONS: Final = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
_HEAP: Final = "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig"
_RAPID_RESET: Final = {
    "overload.premature_reset_total_stream_count": 200,
    "overload.premature_reset_min_stream_lifetime_seconds": 1,
    "http.max_requests_per_io_cycle": 10,
}
"""An HTTP/2 client that resets more than half of its first 200 streams within a second loses its connection."""
_ADS: Final = {"ads": {}, "resource_api_version": "V3"}


class Sockets(msgspec.Struct, frozen=True):
    """Paths of the Unix sockets, in a private directory."""

    xds: str
    admin: str


def command(binary: Path, bootstrap: Path, options: EnvoyOptions) -> list[str]:
    """Build the command line. Hot restart is off, because it would share memory with other Envoys."""
    return [
        str(binary),
        *("--config-path", str(bootstrap)),
        *("--concurrency", str(options.concurrency)),
        *("--drain-time-s", str(options.drain_seconds)),
        *("--log-level", options.log_level),
        *("--file-flush-interval-msec", "500"),
        "--disable-hot-restart",
    ]


def bootstrap(sockets: Sockets, options: EnvoyOptions) -> dict[str, Any]:
    """Build our own Envoy's bootstrap: only the address of the xDS server."""
    endpoint = {"pipe": {"path": sockets.xds}}
    body = _common("certferry", _xds_cluster(endpoint, "STATIC"), options)
    return body | {"admin": {"address": {"pipe": {"path": sockets.admin, "mode": 0o600}}}}


class RemoteBootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """The connection settings and certificates (PEM) of a remote Envoy."""

    name: str
    host: str
    port: int
    server_name: str
    authority: str
    certificate: str
    key: str


def remote_bootstrap(to: RemoteBootstrap, options: EnvoyOptions) -> dict[str, Any]:
    """Build a remote Envoy's bootstrap, with its private key and without an admin port."""
    cluster = _xds_cluster({"socket_address": {"address": to.host, "port_value": to.port}}, "STRICT_DNS")
    own = {"inline_string": to.certificate}, {"inline_string": to.key}
    name = {"san_type": "DNS", "matcher": {"exact": to.server_name}}
    context = {
        "@type": f"{_TYPE}envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": to.server_name,
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            # As a client, Envoy stops at TLS 1.2 by default.
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [{"certificate_chain": own[0], "private_key": own[1]}],
            "validation_context": {
                "trusted_ca": {"inline_string": to.authority},
                "match_typed_subject_alt_names": [name],
            },
        },
    }
    cluster["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    return _common(to.name, cluster, options)


def _common(node: str, xds: dict[str, Any], options: EnvoyOptions) -> dict[str, Any]:
    grpc = {
        "envoy_grpc": {
            "cluster_name": "xds",
            # The default waits up to 30 s after our restart.
            "retry_policy": {"retry_back_off": {"base_interval": "0.05s", "max_interval": "1s"}},
        }
    }
    return {
        "node": {"id": node, "cluster": "certferry"},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [grpc],
            },
            "lds_config": _ADS,
            "cds_config": _ADS,
        },
        "static_resources": {"clusters": [xds]},
        "overload_manager": _overload(options),
        "layered_runtime": {"layers": [{"name": "edge", "static_layer": _RAPID_RESET}]},
    }


def _overload(options: EnvoyOptions) -> dict[str, Any]:
    """Return the limits of connections and memory, as Envoy's guide for edge proxies has them."""
    connections = {"@type": _TYPE + _CONNECTIONS, "max_active_downstream_connections": options.max_connections}
    heap = {"@type": _TYPE + _HEAP, "max_heap_size_bytes": options.max_heap_bytes}
    actions = {"shrink_heap": 0.95, "stop_accepting_requests": 0.98}
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": connections},
            {"name": "envoy.resource_monitors.fixed_heap", "typed_config": heap},
        ],
        "actions": [
            {
                "name": f"envoy.overload_actions.{action}",
                "triggers": [{"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": value}}],
            }
            for action, value in actions.items()
        ],
    }


def digest(*parts: object) -> str:
    """Return the digest that identifies an Envoy's configuration."""
    return hashlib.sha256(msgspec.json.encode([str(part) for part in parts])).hexdigest()


def _xds_cluster(address: dict[str, Any], kind: str) -> dict[str, Any]:
    keepalive = {"interval": "30s", "timeout": "60s"}
    http2 = {"http2_protocol_options": {"connection_keepalive": keepalive}}
    return {
        "name": "xds",
        "type": kind,
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {"@type": _TYPE + _HTTP_OPTIONS, "explicit_http_config": http2}
        },
        "load_assignment": {
            "cluster_name": "xds",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
