"""Headers that a listener adds to requests: ``insert_headers``."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from certferry.core.model.elb import Listener, LoadBalancer, bind_port

_PLAIN: Final = {
    "X-Forwarded-For-Port": "%DOWNSTREAM_DIRECT_REMOTE_PORT%",
    "X-Forwarded-Host": "%REQ(:AUTHORITY)%",
    "X-Real-IP": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    "X-Forwarded-ELB-IP": "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
    "X-Forwarded-TLS-Protocol": "%DOWNSTREAM_TLS_VERSION%",
    "X-Forwarded-TLS-Cipher": "%DOWNSTREAM_TLS_CIPHER%",
}
"""Switched on by their own name; ``<name>-alias`` gives them another one."""
_ENABLED: Final = {
    "X-Forwarded-Clientcert": "%DOWNSTREAM_PEER_CERT%",
    "X-Forwarded-Clientcert-subjectdn": "%DOWNSTREAM_PEER_SUBJECT%",
    "X-Forwarded-Clientcert-issuerdn": "%DOWNSTREAM_PEER_ISSUER%",
    "X-Forwarded-Clientcert-fingerprint": "%DOWNSTREAM_PEER_FINGERPRINT_256%",
    "X-Forwarded-Clientcert-serialnumber": "%DOWNSTREAM_PEER_SERIAL%",
    "X-Forwarded-Clientcert-end": "%DOWNSTREAM_PEER_CERT_V_END%",
    "X-Forwarded-Tls-Sni": "%REQUESTED_SERVER_NAME%",
}
"""Switched on by ``<name>-enable``."""

_FROM_PROXIES: Final = (
    *("Forwarded", "X-Real-IP"),
    *("x-envoy-internal", "x-envoy-original-path", "x-envoy-peer-metadata", "x-envoy-peer-metadata-id"),
)
"""Headers by which a client could claim another address or identity, in addition to those above."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
"""A field name (RFC 9110 5.1) of a sensible length."""
_RESERVED: Final = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
"""Headers that frame a message or concern one connection (RFC 9110 7.6.1)."""


def header_name_problem(name: str) -> str:
    """Return why a listener cannot add a header of this name, or ""."""
    if not _TOKEN.fullmatch(name):
        return "is not a header name"
    if name.lower() in _RESERVED or name.lower().startswith("x-envoy-"):
        return "is a header that the load balancer itself needs"
    return ""


def client_headers_to_remove(trusted: Collection[str]) -> list[str]:
    """Return the names of headers that usually come from a proxy, without those in `trusted`, sorted."""
    names = {*_FROM_PROXIES, *_PLAIN, *_ENABLED, "X-Forwarded-ELB-ID", "X-Forwarded-Port"}
    kept = {name.lower() for name in trusted}
    return sorted(name for name in names if name.lower() not in kept)


def inserted_headers(listener: Listener, loadbalancer: LoadBalancer) -> list[dict[str, Any]]:
    """Return HeaderValueOptions, sorted by name; each replaces a header of the client."""
    asked = listener.insert_headers or {}
    own = {
        "X-Forwarded-ELB-ID": loadbalancer.id,
        "X-Forwarded-Port": str(bind_port(loadbalancer, listener.protocol_port)),
    }
    values = {
        _name(name, asked): value
        for table, switch in ((_PLAIN | own, "{}"), (_ENABLED, "{}-enable"))
        for name, value in table.items()
        if asked.get(switch.format(name)) is True
    }
    return [
        {"header": {"key": name, "value": values[name]}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for name in sorted(values)
    ]


def _name(name: str, asked: Mapping[str, bool | str]) -> str:
    alias = asked.get(f"{name}-alias")
    return alias if isinstance(alias, str) and not header_name_problem(alias) else name
