"""Plain resources to protobuf bytes. Called by ``elb.stream``; the one place where a key meets its chain.

Bytes of a message live as long as the message: what did not change is not encoded again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.access_loggers.file.v3 import file_pb2 as _file_log
from envoy.extensions.compression.gzip.compressor.v3 import gzip_pb2 as _gzip
from envoy.extensions.filters.http.compressor.v3 import compressor_pb2 as _compressor
from envoy.extensions.filters.http.header_to_metadata.v3 import header_to_metadata_pb2 as _metadata
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as _rbac
from envoy.extensions.filters.http.router.v3 import router_pb2 as _router
from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2 as _session
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2 as _inspector
from envoy.extensions.filters.network.connection_limit.v3 import connection_limit_pb2 as _limit
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as _http
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as _network_rbac
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2 as _filter_state
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2 as _tcp
from envoy.extensions.filters.udp.udp_proxy.v3 import route_pb2 as _udp_route
from envoy.extensions.filters.udp.udp_proxy.v3 import udp_proxy_pb2 as _udp
from envoy.extensions.http.stateful_session.cookie.v3 import cookie_pb2 as _cookie
from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2 as _inputs
from envoy.extensions.transport_sockets.proxy_protocol.v3 import upstream_proxy_protocol_pb2 as _proxy
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2 as _raw
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2 as _tls
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret as SecretMessage
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as _options
from envoy.service.discovery.v3.discovery_pb2 import Resource
from google.protobuf.json_format import Parse
from google.protobuf.message_factory import GetMessageClass
from xds.type.matcher.v3 import ip_pb2 as _ip

from certferry.core.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SECRETS, TlsSecret, XdsResource
from certferry.core.x509.pem import PrivateKey

KINDS: Final[Mapping[str, Any]] = {
    CLUSTERS: Cluster,
    ENDPOINTS: ClusterLoadAssignment,
    LISTENERS: Listener,
    ROUTES: RouteConfiguration,
}
NAMED_BY_TYPE_URL: Final = (
    _compressor,
    _cookie,
    _file_log,
    _filter_state,
    _gzip,
    _http,
    _inputs,
    _inspector,
    _ip,
    _limit,
    _metadata,
    _network_rbac,
    _options,
    _proxy,
    _raw,
    _rbac,
    _router,
    _session,
    _tcp,
    _tls,
    _udp,
    _udp_route,
)
"""Imported so that protobuf knows the messages which resources hold as Any."""

_LENGTH_DELIMITED: Final = 2


class Encoder:
    """Remembers the bytes of every message that is still in use."""

    def __init__(self) -> None:
        self._bytes: WeakKeyDictionary[XdsResource, bytes] = WeakKeyDictionary()

    def ready(self, message: XdsResource) -> bool:
        """Return True if the message is encoded."""
        return message in self._bytes

    def prepare(self, kind: str, message: XdsResource) -> Iterator[None]:
        """Encode `message` and yields between its parts, for a caller that has other things to do."""
        yield from self._prepare(KINDS[kind], message)

    def resource(self, kind: str, name: str, message: XdsResource) -> Resource:
        """Build a delta resource; encodes what was not prepared."""
        for _ in self.prepare(kind, message):
            pass
        resource = Resource(name=name, version=message.version)
        resource.resource.type_url = kind
        resource.resource.value = self._bytes[message]
        return resource

    def _prepare(self, cls: Any, message: XdsResource) -> Iterator[None]:
        if message in self._bytes:
            return
        parts = {name: value for name, value in message.body.items() if _is_parts(value)}
        own = {name: value for name, value in message.body.items() if name not in parts}
        # By way of text, for ParseDict would reorder the dictionaries that others share.
        encoded = [Parse(msgspec.json.encode(own), cls()).SerializeToString(deterministic=True)]
        for name, children in parts.items():
            field = cls.DESCRIPTOR.fields_by_name[name]
            tag = _varint(field.number << 3 | _LENGTH_DELIMITED)
            child_class = GetMessageClass(field.message_type)
            for child in children:
                yield from self._prepare(child_class, child)
                # Protobuf merges what is concatenated: a repeated field may be appended part by part.
                encoded += (tag, _varint(len(self._bytes[child])), self._bytes[child])
        self._bytes[message] = b"".join(encoded)
        yield


def secret(held: TlsSecret, key: PrivateKey | None, retries: int) -> Resource:
    """Build a delta resource with the chain and, unless it is for trust alone, its key.

    A secret that Envoy refused before and meets again in the same bytes would be acknowledged without
    being used: each of the `retries` makes the bytes new (by a blank line) and leaves the version.
    """
    message = SecretMessage(name=held.name)
    if held.trust:
        message.validation_context.trusted_ca.inline_string = held.chain.pem
    else:
        assert key is not None
        message.tls_certificate.certificate_chain.inline_string = held.chain.pem + "\n" * retries
        message.tls_certificate.private_key.inline_string = key.reveal()
    resource = Resource(name=held.name, version=held.version)
    resource.resource.type_url = SECRETS
    resource.resource.value = message.SerializeToString(deterministic=True)
    return resource


def _is_parts(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], XdsResource)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
