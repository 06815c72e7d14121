"""The collections of the ELB v3 API: where each is, and what its envelopes are called."""

from __future__ import annotations

from typing import Final, NamedTuple


class Resource(NamedTuple):
    """A collection: its path below ``/elb`` and the names of its envelope."""

    path: str
    one: str
    many: str


CERTIFICATES: Final = Resource("certificates", "certificate", "certificates")
LOADBALANCERS: Final = Resource("loadbalancers", "loadbalancer", "loadbalancers")
LISTENERS: Final = Resource("listeners", "listener", "listeners")
POOLS: Final = Resource("pools", "pool", "pools")
HEALTHMONITORS: Final = Resource("healthmonitors", "healthmonitor", "healthmonitors")
POLICIES: Final = Resource("l7policies", "l7policy", "l7policies")
IPGROUPS: Final = Resource("ipgroups", "ipgroup", "ipgroups")
ALL_MEMBERS: Final = Resource("members", "member", "members")
ALL_RULES: Final = Resource("l7policies/rules", "rule", "rules")


def members_of(pool: str) -> Resource:
    """Return the members of one pool."""
    return Resource(f"pools/{pool}/members", "member", "members")


def rules_of(policy: str) -> Resource:
    """Return the rules of one policy."""
    return Resource(f"l7policies/{policy}/rules", "rule", "rules")
