"""Envoy listeners: an address and filter chains. Listener-level fields never change.

Called by ``snapshot``. Changing a field of the listener itself closes all of its connections;
changing a chain closes those of the chain. So every fixed thing is fixed from the start, and what a
user may change lives in secrets and routes wherever Envoy allows it.
"""

from __future__ import annotations

from typing import Any, Final

from certferry.core.envoy.listeners.sds import CLIENT_CA, DEFAULT, ServerName, secret_name
from certferry.core.envoy.listeners.tls import ServedCertificate
from certferry.core.envoy.options import BUFFER
from certferry.core.envoy.resource import ADS, TYPE, XdsResource, remembered
from certferry.core.model.elb import Listener, LoadBalancer, bind_port

PLAIN: Final = "plain"
"""The one chain of an HTTP or TCP listener."""


@remembered
def tls_listener(
    listener_id: str,
    loadbalancer: LoadBalancer,
    listener: Listener,
    places: tuple[ServerName, ...],
    tls: ServedCertificate,
    filters: tuple[XdsResource, ...],
) -> XdsResource:
    """Build one chain per place: a client gets the chain of the longest matching name."""
    ca = secret_name(listener_id, CLIENT_CA) if listener.client_ca_tls_container_ref else ""
    alpn: tuple[str, ...] = ("h2", "http/1.1") if listener.http2_enable else ("http/1.1",)
    if listener.protocol == "TLS":
        alpn = ()  # members speak, and what they speak is not known here
    chains = tuple(_chain(f"{listener_id}/{p.name}", p.name, p.slots, tls, alpn, ca, filters) for p in places)
    inspector = {
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": {"@type": f"{TYPE}envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"},
    }
    return XdsResource(_base(loadbalancer, listener) | {"listener_filters": [inspector], "filter_chains": chains})


@remembered
def plain_listener(
    listener_id: str, loadbalancer: LoadBalancer, listener: Listener, filters: tuple[XdsResource, ...]
) -> XdsResource:
    """Build one chain for all clients, without TLS."""
    chain = XdsResource({"name": PLAIN, "filters": filters})
    return XdsResource(_base(loadbalancer, listener) | {"filter_chains": (chain,)})


@remembered
def udp_listener(
    listener_id: str, loadbalancer: LoadBalancer, listener: Listener, proxy: dict[str, Any]
) -> XdsResource:
    """Build the listener for datagrams. Envoy gives each worker a socket of its own, else it refuses the listener."""
    base = _base(loadbalancer, listener)
    base["address"]["socket_address"]["protocol"] = "UDP"
    del base["per_connection_buffer_limit_bytes"]
    return XdsResource(base | {"enable_reuse_port": True, "listener_filters": [proxy]})


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
        "per_connection_buffer_limit_bytes": BUFFER,
    }


@remembered
def _chain(
    key: str,
    name: str | None,
    slots: tuple[str, ...],
    tls: ServedCertificate,
    alpn: tuple[str, ...],
    ca: str,
    filters: tuple[XdsResource, ...],
) -> XdsResource:
    common: dict[str, Any] = {
        "tls_params": tls.parameters(),
        **({"alpn_protocols": list(alpn)} if alpn else {}),
        "tls_certificate_sds_secret_configs": [{"name": s, "sds_config": ADS} for s in slots],
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
        # A final dot makes no difference (RFC 3986 3.2.2).
        chain["filter_chain_match"] = {"server_names": [name, f"{name}."]}
    return XdsResource(chain)
