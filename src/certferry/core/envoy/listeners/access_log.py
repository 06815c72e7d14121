"""The access log: one line of JSON per request or layer-4 connection, in Envoy's working directory.

Envoy cannot say which certificate it showed. It says where (listener and place) and when the client connected; the
writer of the access log appends the fingerprint, and keeps Envoy's text as it is, because that is the cheapest.
"""

from __future__ import annotations

from collections.abc import Mapping
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


_CONNECTION: Final = ("time", "flags", "received", "sent", "duration_ms", "client", "member", "pool")
_OF_TLS: Final = ("tls_version", "tls_cipher", "server_name", "place")
_START: Final = "%COMMON_DURATION(DS_CX_BEG:DS_CX_BEG:us)%"
"""0: the time of a line about a connection is the start of it."""


def access_log(listener_id: str) -> list[dict[str, Any]]:
    """Return Envoy's ``access_log`` of a listener: a line per request."""
    return _log(listener_id, _FIELDS)


def connection_log(listener_id: str) -> list[dict[str, Any]]:
    """Return Envoy's ``access_log`` of a TCP or TLS listener: a line per connection, when it ends."""
    return _log(listener_id, {f: _FIELDS[f] for f in (*_CONNECTION, *_OF_TLS)} | {"connected_us": _START})


def _log(listener_id: str, shown: Mapping[str, str]) -> list[dict[str, Any]]:
    fields = {"listener": listener_id.replace("%", "%%"), **shown}
    form = {"json_format": fields, "omit_empty_values": True}
    config = {"@type": f"{TYPE}envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": FILE, "log_format": form}
    return [{"name": "envoy.access_loggers.file", "typed_config": config}]
