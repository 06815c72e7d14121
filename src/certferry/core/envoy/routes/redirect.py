"""REDIRECT_TO_URL as a direct response of Envoy.

Envoy's own redirects replace parts by literals. The ELB's are templates: ``www.${host}``, ``/new${path}``,
``from=${host}&${query}``. So Envoy's formatter writes the Location. A filter extracts two values from the request: the
host without a port, and the query with its question mark.
"""

from __future__ import annotations

import re
from typing import Any, Final

from certferry.core.envoy.resource import TYPE
from certferry.core.model.elb import Listener, LoadBalancer, RedirectUrl, bind_port

FILTER: Final = "envoy.filters.http.header_to_metadata"
_TYPE: Final = f"{TYPE}envoy.extensions.filters.http.header_to_metadata.v3.Config"
_SPACE: Final = "certferry"
_HOST: Final = "%DYNAMIC_METADATA(certferry:host)%"
_PATH: Final = "%PATH(NQ:PATH)%"
_QUERY: Final = "%DYNAMIC_METADATA(certferry:query)%"
_BARE_QUERY: Final = "%QUERY_PARAMS(ORIG)%"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_VARIABLE: Final = re.compile(r"\$\{(protocol|host|port|path|query)\}")
_STATUSES: Final = frozenset({"301", "302", "303", "307", "308"})


def unredirected() -> dict[str, Any]:
    """Return the filter for a filter chain; only routes enable it."""
    return {"name": FILTER, "typed_config": {"@type": _TYPE}}


def redirect(to: RedirectUrl, listener: Listener, loadbalancer: LoadBalancer) -> dict[str, Any]:
    """Return the parts of a Route that redirect to `to`."""
    location = _location(to, listener, loadbalancer)
    header = {"header": {"key": "location", "value": location}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    rules = [_rule(":authority", "host", r"^(.*?)(?::\d+)?$"), _rule(":path", "query", r"^[^?]*(\?.+)?.*$")]
    return {
        "direct_response": {"status": int(to.status_code) if to.status_code in _STATUSES else 301},
        "response_headers_to_add": [header],
        "typed_per_filter_config": {FILTER: {"@type": _TYPE, "request_rules": rules}},
    }


def _rule(header: str, key: str, pattern: str) -> dict[str, Any]:
    value = {"pattern": {"regex": pattern}, "substitution": r"\1"}
    present = {"metadata_namespace": _SPACE, "key": key, "regex_value_rewrite": value}
    return {"header": header, "on_header_present": present}


def _location(to: RedirectUrl, listener: Listener, loadbalancer: LoadBalancer) -> str:
    own = "https" if listener.protocol in {"HTTPS", "TERMINATED_HTTPS"} else "http"
    scheme = own if to.protocol == "${protocol}" else to.protocol.lower()
    here = bind_port(loadbalancer, listener.protocol_port)
    values = {"protocol": own, "host": _HOST, "port": str(here), "path": _PATH, "query": _BARE_QUERY}
    authority = _filled(to.host, values) + _port(to, scheme, here, loadbalancer)
    path = _filled(to.path, values)
    query = _QUERY if to.query == "${query}" else ""
    if to.query and not query:
        query = f"?{_filled(to.query, values)}"
    return f"{scheme}://{authority}{path if to.path.startswith(('/', '${path}')) else '/' + path}{query}"


def _port(to: RedirectUrl, scheme: str, here: int, loadbalancer: LoadBalancer) -> str:
    """Return ``:8443``, or "" for the default port of the scheme."""
    if to.port.isdigit():
        port = int(to.port)
        if to.host == "${host}":
            # On this load balancer, where a port may really be another one.
            port = bind_port(loadbalancer, port)
    else:
        port = here
    return "" if port == _DEFAULT_PORTS.get(scheme) else f":{port}"


def _filled(template: str, values: dict[str, str]) -> str:
    """Return `template` with its variables as Envoy's operators; every other % is escaped."""
    pieces = _VARIABLE.split(template)
    return "".join(values[p] if n % 2 else p.replace("%", "%%") for n, p in enumerate(pieces))
