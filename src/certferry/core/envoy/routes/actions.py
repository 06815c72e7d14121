"""The action of a route, from a policy's action."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from certferry.core.envoy.routes.match import has_cookie
from certferry.core.envoy.routes.redirect import redirect
from certferry.core.envoy.routes.session_affinity import Stickiness
from certferry.core.model.elb import Listener, LoadBalancer, Policy

_STATUS: Final = re.compile("[2-5][0-9]{2}")
_UNAVAILABLE: Final = {"direct_response": {"status": 503}}


class Target(msgspec.Struct, frozen=True):
    """A target of requests: a pool with its stickiness, or another listener (its bound port)."""

    pool_id: str = ""
    sticky: Stickiness = Stickiness()
    port: int = 0

    def route(self, listener: Listener) -> dict[str, Any]:
        """Return the action that sends all requests to this pool."""
        body = {"cluster": self.pool_id} | _shared(listener, self.sticky.hash_policy())
        return {"route": body} | _per_route(self.sticky.route_filters())


class StickyRoute(NamedTuple):
    """A further condition on a policy's requests, and what is done with those that fulfil it."""

    condition: dict[str, Any]
    action: dict[str, Any]


def action(
    policy: Policy, listener: Listener, loadbalancer: LoadBalancer, targets: Mapping[str, Target]
) -> dict[str, Any]:
    """Return the action of a Route. Without a target it responds 503."""
    match policy.action:
        case "REDIRECT_TO_POOL":
            return _to_pools(policy, listener, targets)
        case "REDIRECT_TO_LISTENER":
            target = targets.get(policy.redirect_listener_id or "")
            return {"redirect": _to_https(target.port)} if target else _UNAVAILABLE
        case "REDIRECT_TO_URL" if policy.redirect_url_config:
            return redirect(policy.redirect_url_config, listener, loadbalancer)
        case "FIXED_RESPONSE" if (fixed := policy.fixed_response_config) and _STATUS.fullmatch(fixed.status_code):
            response: dict[str, Any] = {"status": int(fixed.status_code)}
            if fixed.message_body:
                response["body"] = {"inline_string": fixed.message_body}
            header = {"key": "content-type", "value": fixed.content_type}
            added = {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            return {"direct_response": response, "response_headers_to_add": [added]}
        case _:
            return _UNAVAILABLE


def pinned(policy: Policy, listener: Listener, targets: Mapping[str, Target]) -> list[StickyRoute]:
    """Yield routes for clients with a cookie of one of several pools of `policy`: they go to that pool."""
    sticky_routes = []
    for target, _ in _shares(policy, targets):
        sticky = target.sticky.within(policy.id)
        if sticky.cookie and len(policy.redirect_pools_config or ()) > 1:
            own = msgspec.structs.replace(target, sticky=sticky)
            sticky_routes.append(StickyRoute(has_cookie(sticky.cookie), own.route(listener)))
    return sticky_routes


def _shares(policy: Policy, targets: Mapping[str, Target]) -> list[tuple[Target, int]]:
    """Return the pools of a policy with a weight above 0."""
    if not policy.redirect_pools_config:
        single = targets.get(policy.redirect_pool_id or "")
        return [(single, 1)] if single else []
    return [
        (targets[share.pool_id], share.weight)
        for share in policy.redirect_pools_config
        if share.weight > 0 and share.pool_id in targets
    ]


def _to_pools(policy: Policy, listener: Listener, targets: Mapping[str, Target]) -> dict[str, Any]:
    shares = _shares(policy, targets)
    if not shares:
        return _UNAVAILABLE
    if len(shares) == 1:
        return shares[0][0].route(listener)
    clusters = [
        {"name": target.pool_id, "weight": weight} | _per_route(target.sticky.within(policy.id).route_filters())
        for target, weight in shares
    ]
    by_address = next((by for target, _ in shares if (by := target.sticky.hash_policy())), [])
    weighted: dict[str, Any] = {"clusters": clusters}
    if by_address:
        weighted["use_hash_policy"] = True
    return {"route": {"weighted_clusters": weighted} | _shared(listener, by_address)}


def _per_route(filters: dict[str, Any]) -> dict[str, Any]:
    return {"typed_per_filter_config": filters} if filters else {}


def _shared(listener: Listener, sticky: list[dict[str, Any]]) -> dict[str, Any]:
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
    return body | ({"hash_policy": sticky} if sticky else {})


def _to_https(port: int) -> dict[str, Any]:
    to = {"https_redirect": True, "response_code": "MOVED_PERMANENTLY"}
    return to | {"port_redirect": port}
