"""Envoy listeners: an address, filter chains, and nothing at listener level that ever changes.

Called by ``snapshot``. Changing a field of the listener itself closes all of its connections;
changing a chain closes those of the chain. So every fixed thing is fixed from the start, and what a
user may change lives in secrets and routes wherever Envoy allows it.
"""

from __future__ import annotations

from typing import Any, Final

from certferry.core.envoy.message import ADS, TYPE, Message, remembered
from certferry.core.envoy.seats import CLIENT_CA, DEFAULT, Place, seat
from certferry.core.envoy.tls import Suite
from certferry.core.model import Listener, LoadBalancer, bind_port

PLAIN: Final = "plain"
"""The one chain of an HTTP listener."""
_BUFFER: Final = 1 << 20
_HTTP: Final = "envoy.extensions.filters.http."
_MANAGER: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


@remembered
def https_listener(
    listener_id: str, loadbalancer: LoadBalancer, listener: Listener, places: tuple[Place, ...], suite: Suite
) -> Message:
    """One chain per place: a client gets that of the longest name that fits what it asks for."""
    filters = (_filter(listener, bool(listener.http2_enable)),)
    ca = seat(listener_id, CLIENT_CA) if listener.client_ca_tls_container_ref else ""
    alpn = ("h2", "http/1.1") if listener.http2_enable else ("http/1.1",)
    chains = tuple(
        _chain(f"{listener_id}/{p.name}", p.name, p.seats, suite, alpn, ca, filters) for p in places
    )
    inspector = {
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": {"@type": f"{TYPE}envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"},
    }
    return Message(_base(loadbalancer, listener) | {"listener_filters": [inspector], "filter_chains": chains})


@remembered
def http_listener(listener_id: str, loadbalancer: LoadBalancer, listener: Listener) -> Message:
    """One chain for everybody."""
    chain = Message({"name": PLAIN, "filters": (_filter(listener, http2=False),)})
    return Message(_base(loadbalancer, listener) | {"filter_chains": (chain,)})


def _base(loadbalancer: LoadBalancer, listener: Listener) -> dict[str, Any]:
    return {
        "name": listener.id,
        "address": {
            "socket_address": {
                "address": loadbalancer.vip_address,
                "port_value": bind_port(loadbalancer, listener.protocol_port),
            }
        },
        # Else a second Envoy on this address would silently take half of the connections.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": _BUFFER,
    }


@remembered
def _chain(
    key: str,
    name: str | None,
    seats: tuple[str, ...],
    suite: Suite,
    alpn: tuple[str, ...],
    ca: str,
    filters: tuple[Message, ...],
) -> Message:
    common: dict[str, Any] = {
        "tls_params": suite.parameters(),
        "alpn_protocols": list(alpn),
        "tls_certificate_sds_secret_configs": [{"name": s, "sds_config": ADS} for s in seats],
    }
    if ca:
        common["validation_context_sds_secret_config"] = {"name": ca, "sds_config": ADS}
    socket: dict[str, Any] = {
        "@type": f"{TYPE}envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": common,
    }
    if ca:
        socket["require_client_certificate"] = True
    chain: dict[str, Any] = {
        "name": name or DEFAULT,
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": socket},
        # A client that never finishes its handshake does not keep its place.
        "transport_socket_connect_timeout": "15s",
        "filters": filters,
    }
    if name:
        chain["filter_chain_match"] = {"server_names": [name]}
    return Message(chain)


def _filter(listener: Listener, http2: bool) -> Message:
    return _http_filter(
        listener.id, http2, max(1, _or(listener.keepalive_timeout, 60)), _or(listener.client_timeout, 60)
    )


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


@remembered
def _http_filter(listener_id: str, http2: bool, idle: int, client: int) -> Message:
    """What all chains of a listener share. Routes and access lists come with the route table."""
    manager: dict[str, Any] = {
        "@type": TYPE + _MANAGER,
        "stat_prefix": listener_id,
        "codec_type": "AUTO" if http2 else "HTTP1",
        "rds": {"route_config_name": listener_id, "config_source": ADS},
        "use_remote_address": True,
        # For clients on this machine Envoy would put in another address; the route table adds theirs.
        "skip_xff_append": True,
        "normalize_path": True,
        "server_header_transformation": "PASS_THROUGH",
        "common_http_protocol_options": {"idle_timeout": f"{idle}s"},
        "http_protocol_options": {"accept_http_10": True},
        "request_headers_timeout": f"{client}s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [
            {
                "name": "envoy.filters.http.rbac",
                "typed_config": {"@type": f"{TYPE}{_HTTP}rbac.v3.RBAC"},
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPE}{_HTTP}router.v3.Router", "suppress_envoy_headers": True},
            },
        ],
    }
    if http2:
        # As Envoy's guide for proxies at the edge says: one client cannot have all of the memory.
        manager["http2_protocol_options"] = {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1_048_576,
            "allow_connect": True,
        }
    return Message({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager})
