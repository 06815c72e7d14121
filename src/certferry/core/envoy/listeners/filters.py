"""The network filters that all chains of an HTTP or HTTPS listener share.

Called by ``listeners``. Routes, access lists, stickiness and redirects come with the route table, so
that changing them closes no connection; their filters stand here and do nothing by themselves.
"""

from __future__ import annotations

from typing import Any, Final

from certferry.core.envoy.listeners.access_log import access_log
from certferry.core.envoy.options import ESCAPED_SLASHES, UNDERSCORES, Options
from certferry.core.envoy.resource import ADS, TYPE, XdsResource, remembered
from certferry.core.envoy.routes import redirect as redirects
from certferry.core.envoy.routes import session_affinity as stickiness
from certferry.core.envoy.routes.compression import uncompressed
from certferry.core.envoy.routes.match import CLIENT
from certferry.core.model.elb import Listener

_HTTP: Final = "envoy.extensions.filters.http."
_NETWORK: Final = "envoy.extensions.filters.network."
_TRACE: Final = {"name": ":method", "string_match": {"safe_regex": {"regex": "(?i)(TRACE|TRACK)"}}}
_METHODS: Final = {
    "name": "certferry.methods",
    "typed_config": {
        "@type": f"{TYPE}{_HTTP}rbac.v3.RBAC",
        "rules": {
            "action": "DENY",
            "policies": {"trace": {"permissions": [{"header": _TRACE}], "principals": [{"any": True}]}},
        },
    },
}
"""Refuses requests that ask for an echo of their headers, cookies among them."""


def network_filters(listener: Listener, http2: bool, options: Options) -> tuple[XdsResource, ...]:
    """Return the filters: connection limit, the client's address for SOURCE_IP rules, then HTTP."""
    idle = max(1, _or(listener.keepalive_timeout, 60))
    client = _or(listener.client_timeout, 60)
    http = _http(listener.id, http2, idle, client, options)
    limit = options.max_connections_per_host
    return (*((connection_limit(limit),) if limit else ()), _client_address(""), http)


@remembered
def _client_address(_: str) -> XdsResource:
    value = {
        "object_key": CLIENT,
        "factory_key": "envoy.network.ip",
        "format_string": {"text_format_source": {"inline_string": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"}},
    }
    config = {"@type": f"{TYPE}{_NETWORK}set_filter_state.v3.Config", "on_new_connection": [value]}
    return XdsResource({"name": "envoy.filters.network.set_filter_state", "typed_config": config})


@remembered
def connection_limit(connections: int) -> XdsResource:
    """Return the filter that closes further connections to one chain."""
    kind = f"{TYPE}{_NETWORK}connection_limit.v3.ConnectionLimit"
    config = {"@type": kind, "stat_prefix": "host", "max_connections": connections}
    return XdsResource({"name": "envoy.filters.network.connection_limit", "typed_config": config})


@remembered
def _http(listener_id: str, http2: bool, idle: int, client: int, options: Options) -> XdsResource:
    manager: dict[str, Any] = {
        "@type": f"{TYPE}{_NETWORK}http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": listener_id,
        "codec_type": "AUTO" if http2 else "HTTP1",
        "rds": {"route_config_name": listener_id, "config_source": ADS},
        "use_remote_address": True,
        # For clients on this machine Envoy would put in another address; the route table adds theirs.
        "skip_xff_append": True,
        # Headers that steer Envoy are obeyed from no client: without a range, those of private networks would be.
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        "normalize_path": True,
        "merge_slashes": options.merge_slashes,
        "path_with_escaped_slashes_action": ESCAPED_SLASHES[options.escaped_slashes],
        "strip_trailing_host_dot": True,
        "server_header_transformation": "PASS_THROUGH",
        "common_http_protocol_options": {
            "idle_timeout": f"{idle}s",
            "headers_with_underscores_action": UNDERSCORES[options.underscores],
        },
        "http_protocol_options": {"accept_http_10": True},
        "request_headers_timeout": f"{client}s",
        # Routes have their own, from the timeouts of the listener.
        "stream_idle_timeout": "300s",
        "request_timeout": f"{options.request_timeout:g}s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [
            _METHODS,
            {"name": "envoy.filters.http.rbac", "typed_config": {"@type": f"{TYPE}{_HTTP}rbac.v3.RBAC"}},
            redirects.unredirected(),
            stickiness.unstuck(),
            uncompressed(),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPE}{_HTTP}router.v3.Router", "suppress_envoy_headers": True},
            },
        ],
    }
    if options.access_log:
        manager["access_log"] = access_log(listener_id)
    if http2:
        # As Envoy's guide for proxies at the edge says: one client cannot have all of the memory.
        manager["http2_protocol_options"] = {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1_048_576,
            "allow_connect": True,
        }
    return XdsResource({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager})


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
