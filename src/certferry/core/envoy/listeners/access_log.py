"""The access log: one line of JSON per request, in Envoy's working directory.

Envoy cannot say which certificate it showed. It says where (listener and place) and when the client
connected; ``elb.plane.access`` puts the fingerprint to it, knowing what sat there then.
"""

from __future__ import annotations

from typing import Any, Final

from certferry.core.envoy.resource import TYPE

FILE: Final = "access.raw"
"""Its name, in the directory that Envoy was started in."""
PLACE: Final = "place"
STARTED: Final = "time"
CONNECTED: Final = "connected_us"

_FIELDS: Final = {
    STARTED: "%START_TIME(%s.%6f)%",
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
    PLACE: "%FILTER_CHAIN_NAME%",
    CONNECTED: "%COMMON_DURATION(DS_CX_BEG:DS_RX_BEG:us)%",
}


def access_log(listener_id: str) -> list[dict[str, Any]]:
    """Return Envoy's ``access_log`` of a listener."""
    form = {"json_format": {"listener": listener_id.replace("%", "%%"), **_FIELDS}}
    config = {"@type": f"{TYPE}envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": FILE, "log_format": form}
    return [{"name": "envoy.access_loggers.file", "typed_config": config}]
