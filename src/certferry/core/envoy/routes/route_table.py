"""The route table of a listener.

Envoy selects the virtual host with the most specific name and no other. So each virtual host has every policy that may
apply to it, in the ELB's order of precedence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from certferry.core.envoy.resource import XdsResource, remembered
from certferry.core.envoy.routes.access_list import access
from certferry.core.envoy.routes.actions import StickyRoute, Target, action, pinned
from certferry.core.envoy.routes.challenge import challenge_route
from certferry.core.envoy.routes.compression import compression
from certferry.core.envoy.routes.headers import client_headers_to_remove, inserted_headers
from certferry.core.envoy.routes.match import Match, hosts, matches
from certferry.core.model.elb import HttpChallenge, Listener, LoadBalancer, Policy
from certferry.core.model.naming import described

_REDIRECT: Final = "REDIRECT_TO_LISTENER"
_CLIENT: Final = {
    "header": {"key": "X-Forwarded-For", "value": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"},
    "append_action": "APPEND_IF_EXISTS_OR_ADD",
}


class CompiledPolicy(NamedTuple):
    """A policy with the inputs of its routes."""

    policy: Policy
    hosts: tuple[str, ...]
    matches: tuple[Match, ...]
    action: dict[str, Any]
    pinned: tuple[StickyRoute, ...]
    of_ingress: bool
    """True if ``*.`` in its hosts matches one label, as in an Ingress; False if it matches any number."""

    def routes(self, way: Match, host: str | None) -> list[dict[str, Any]]:
        """Return the routes for one match of the policy, by its matching `host`."""
        name = {"name": self.policy.id}
        match = way.route
        if self.of_ingress and host is not None and host.startswith("*."):
            match = match | {"headers": [*match.get("headers", []), _one_label(host)]}
        headers = match.get("headers", [])
        return [
            *(name | {"match": match | {"headers": [*headers, p.condition]}} | p.action for p in self.pinned),
            name | {"match": match} | self.action,
        ]

    def fits(self, host: str, name: str) -> bool:
        """Return whether `host`, one of its own, may match requests to the virtual host `name`."""
        if host == name:
            return True
        wild = host.startswith("*.") and name.endswith(host[1:])
        return wild and not (self.of_ingress and "." in name.removesuffix(host[1:]))


@remembered
def route_table(
    listener_id: str,
    listener: Listener,
    loadbalancer: LoadBalancer,
    policies: tuple[Policy, ...],
    targets: Mapping[str, Target],
    groups: Mapping[str, tuple[str, ...]],
    trusted: tuple[str, ...],
    challenges: tuple[HttpChallenge, ...] = (),
) -> XdsResource:
    """Build the routes of all policies, last the default pool; without one the last is a 404.

    `trusted` are headers that clients may set although they usually come from a proxy. The answers to `challenges` come
    before all other routes of their host.
    """
    ruled = [_ruled(policy, listener, loadbalancer, targets) for policy in policies]
    fallback = targets.get(listener.default_pool_id or "")
    names = sorted({h for r in ruled for h in r.hosts} | {c.host for c in challenges})
    virtual = tuple(
        _virtual_host(
            f"{listener_id}/{n}",
            n,
            _concerning(n, ruled),
            listener,
            fallback,
            tuple(c for c in challenges if c.host == n),
        )
        for n in (*names, "*")
    )
    inserted = inserted_headers(listener, loadbalancer)
    body: dict[str, Any] = {
        "name": listener_id,
        "virtual_hosts": virtual,
        "ignore_port_in_host_matching": True,
        "request_headers_to_add": [_CLIENT, *inserted],
        # A header without a value must not be the client's.
        "request_headers_to_remove": sorted(
            {*client_headers_to_remove(trusted), *(one["header"]["key"] for one in inserted)}
        ),
    }
    if filters := access(listener.ipgroup, groups) | compression(listener.gzip_enable):
        body["typed_per_filter_config"] = filters
    return XdsResource(body)


def _ruled(
    policy: Policy, listener: Listener, loadbalancer: LoadBalancer, targets: Mapping[str, Target]
) -> CompiledPolicy:
    done = action(policy, listener, loadbalancer, targets)
    ways, sticky = tuple(matches(policy)), tuple(pinned(policy, listener, targets))
    return CompiledPolicy(policy, hosts(policy), ways, done, sticky, "ingress_id" in described(policy.description))


def _concerning(name: str, ruled: Iterable[CompiledPolicy]) -> tuple[tuple[CompiledPolicy, str | None], ...]:
    """Return policies that may apply to `name`, each with its best matching host (None = any)."""
    concerning = []
    for one in ruled:
        fitting = [h for h in one.hosts if one.fits(h, name)]
        if fitting or not one.hosts:
            concerning.append((one, max(fitting, key=_particular, default=None)))
    return tuple(concerning)


def _one_label(host: str) -> dict[str, Any]:
    """Return a HeaderMatcher for an authority with one label in place of the ``*`` of `host`."""
    pattern = f"(?i)[^.:]+{re.escape(host[1:])}(:[0-9]+)?"
    return {"name": ":authority", "string_match": {"safe_regex": {"regex": pattern}}}


def _particular(host: str | None) -> tuple[bool, int]:
    """Return a key that is greater for the more specific: any < ``*.com`` < ``*.b.com`` < ``a.b.com``."""
    return (bool(host) and not (host or "").startswith("*"), len(host or ""))


@remembered
def _virtual_host(
    key: str,
    name: str,
    concerning: tuple[tuple[CompiledPolicy, str | None], ...],
    listener: Listener,
    fallback: Target | None,
    challenges: tuple[HttpChallenge, ...],
) -> XdsResource:
    ways = [(one, host, way) for one, host in concerning for way in one.matches]
    ways.sort(key=lambda w: _precedence(listener, w[0].policy, w[1], w[2]))
    routes = [challenge_route(one) for one in challenges]
    routes += [route for one, host, way in ways for route in one.routes(way, host)]
    if fallback is not None:
        routes.append({"name": "default", "match": {"prefix": "/"}} | fallback.route(listener))
    return XdsResource({"name": name, "domains": [name], "routes": routes})


def _precedence(listener: Listener, policy: Policy, host: str | None, way: Match) -> tuple[Any, ...]:
    """Return the sort key of a match.

    Redirects of a whole listener come first. Then by number, or (without advanced forwarding) the more specific host,
    then exact before prefix before expression, then the longer path.
    """
    first = policy.action != _REDIRECT
    number = policy.priority if policy.priority is not None else 10_001
    if listener.enhance_l7policy_enable:
        return (first, number, policy.id)
    exact, length = _particular(host)
    return (first, not exact, -length, way.rank, -way.length, number, policy.id)
