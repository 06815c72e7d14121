"""Headers that a listener adds to requests: ``insert_headers``."""

from __future__ import annotations

from collections.abc import Mapping
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
    return alias if isinstance(alias, str) and alias else name
