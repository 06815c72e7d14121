"""What a route does with a request, from a policy's action. Called by ``routes``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from certferry.core.model import Listener, Policy, RedirectUrl

_CODES: Final = {
    "301": "MOVED_PERMANENTLY",
    "302": "FOUND",
    "303": "SEE_OTHER",
    "307": "TEMPORARY_REDIRECT",
    "308": "PERMANENT_REDIRECT",
}
_UNAVAILABLE: Final = {"direct_response": {"status": 503}}


class Target(msgspec.Struct, frozen=True):
    """Where requests can be sent: a pool with its stickiness, or another listener (its real port)."""

    pool_id: str = ""
    hash_policy: tuple[Mapping[str, Any], ...] = ()
    port: int = 0

    def route(self, listener: Listener) -> dict[str, Any]:
        """All requests to this pool."""
        return {"route": {"cluster": self.pool_id} | _shared(listener, self.hash_policy)}


def action(policy: Policy, listener: Listener, targets: Mapping[str, Target]) -> dict[str, Any]:
    """The action part of a Route. What leads nowhere answers 503."""
    match policy.action:
        case "REDIRECT_TO_POOL":
            return _to_pools(policy, listener, targets)
        case "REDIRECT_TO_LISTENER":
            target = targets.get(policy.redirect_listener_id or "")
            return {"redirect": _to_https(target.port)} if target else _UNAVAILABLE
        case "REDIRECT_TO_URL" if policy.redirect_url_config:
            return {"redirect": _to_url(policy.redirect_url_config)}
        case "FIXED_RESPONSE" if policy.fixed_response_config:
            fixed = policy.fixed_response_config
            response: dict[str, Any] = {"status": int(fixed.status_code)}
            if fixed.message_body:
                response["body"] = {"inline_string": fixed.message_body}
            header = {"key": "content-type", "value": fixed.content_type}
            added = {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            return {"direct_response": response, "response_headers_to_add": [added]}
        case _:
            return _UNAVAILABLE


def _to_pools(policy: Policy, listener: Listener, targets: Mapping[str, Target]) -> dict[str, Any]:
    shares = [
        (targets[share.pool_id], share.weight)
        for share in policy.redirect_pools_config or ()
        if share.weight > 0 and share.pool_id in targets
    ]
    if not policy.redirect_pools_config and (single := targets.get(policy.redirect_pool_id or "")):
        shares = [(single, 1)]
    if not shares:
        return _UNAVAILABLE
    if len(shares) == 1:
        return shares[0][0].route(listener)
    clusters = [{"name": target.pool_id, "weight": weight} for target, weight in shares]
    sticky = next((t.hash_policy for t, _ in shares if t.hash_policy), ())
    return {"route": {"weighted_clusters": {"clusters": clusters}} | _shared(listener, sticky)}


def _shared(listener: Listener, sticky: tuple[Mapping[str, Any], ...]) -> dict[str, Any]:
    """Timeouts count silence, as the vendor's do, so that a long download is not cut.

    A silent member is given up with 504; the route's own timeout is a stop for clients that fell silent.
    """
    member = 60 if listener.member_timeout is None else listener.member_timeout
    client = 60 if listener.client_timeout is None else listener.client_timeout
    body: dict[str, Any] = {
        "timeout": "0s",
        "idle_timeout": f"{max(member, client) + 5}s",
        "retry_policy": {
            # Only where the member has certainly not seen the request.
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": 2,
            "per_try_idle_timeout": f"{member}s",
        },
    }
    return body | ({"hash_policy": list(sticky)} if sticky else {})


def _to_https(port: int) -> dict[str, Any]:
    to = {"https_redirect": True, "response_code": "MOVED_PERMANENTLY"}
    return to | {"port_redirect": port}


def _to_url(to: RedirectUrl) -> dict[str, Any]:
    body: dict[str, Any] = {"response_code": _CODES.get(to.status_code, "MOVED_PERMANENTLY")}
    if to.protocol.lower() in {"http", "https"}:
        body["scheme_redirect"] = to.protocol.lower()
    if to.host and "${" not in to.host:
        body["host_redirect"] = to.host
    if to.port.isdigit():
        body["port_redirect"] = int(to.port)
    literal_query = "" if "${" in to.query else to.query
    if "${path}" not in to.path:
        body["path_redirect"] = to.path + (f"?{literal_query}" if literal_query else "")
    elif to.path != "${path}":
        rewritten = re.sub(r"\\(?=\d)", r"\\\\", to.path).replace("${path}", r"\1")
        body["regex_rewrite"] = {"pattern": {"regex": "^(.*)$"}, "substitution": rewritten}
    if "${query}" not in to.query:
        body["strip_query"] = True
    return body
