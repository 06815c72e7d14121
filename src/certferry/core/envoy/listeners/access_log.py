"""The access log: one line of JSON per request, in Envoy's working directory.

Envoy cannot say which certificate it showed. It says where (listener and place) and when the client connected; the
writer of the access log appends the fingerprint, and keeps Envoy's text as it is, because that is the cheapest.
"""

from __future__ import annotations

from typing import Any, Final

from certferry.core.envoy.resource import TYPE

FILE: Final = "access.raw"
"""Its name, in the directory that Envoy was started in."""

_FIELDS: Final = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
    "method": "%REQ(:METHOD)%",
    "scheme": "%REQ(:SCHEME)%",
    "host": "%REQ(:AUTHORITY)%",
    "path": "%REQ(:PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "client": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "member": "%UPSTREAM_HOST%",
    "pool": "%UPSTREAM_CLUSTER%",
    "policy": "%ROUTE_NAME%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "tls_version": "%DOWNSTREAM_TLS_VERSION%",
    "tls_cipher": "%DOWNSTREAM_TLS_CIPHER%",
    "server_name": "%REQUESTED_SERVER_NAME%",
    "place": "%FILTER_CHAIN_NAME%",
    "connected_us": "%COMMON_DURATION(DS_CX_BEG:DS_RX_BEG:us)%",
}


def access_log(listener_id: str) -> list[dict[str, Any]]:
    """Return Envoy's ``access_log`` of a listener."""
    fields = {"listener": listener_id.replace("%", "%%"), **_FIELDS}
    form = {"json_format": fields, "omit_empty_values": True}
    config = {"@type": f"{TYPE}envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": FILE, "log_format": form}
    return [{"name": "envoy.access_loggers.file", "typed_config": config}]
