"""The service's catalog: TLS policies, flavors, zones, quotas (elb-v3-api.md 7). Nothing here is stored."""

from __future__ import annotations

import uuid
from typing import Any, Final

import msgspec

from certferry.core.envoy.listeners.tls import POLICIES, served
from certferry.elb.server.api.listing import Resource, Wire, filtered, paged
from certferry.elb.server.api.request import ApiRequest, ApiResponse, Route
from certferry.elb.server.api.resources.security_policies import TLS_POLICIES, served_object
from certferry.elb.server.errors import not_found
from certferry.elb.server.store.schema import RESOURCES
from certferry.elb.server.store.tables import Row, StoreSnapshot, project

_SIZES: Final = (("s1.small", 10), ("s1.medium", 20), ("s1.large", 40), ("s2.small", 50), ("s2.medium", 100))


def system_security_policies(call: ApiRequest) -> ApiResponse:
    """GET: the named TLS policies; protocols and ciphers as strings."""
    return ApiResponse(
        200,
        {
            "system_security_policies": [
                {
                    "name": name,
                    "protocols": " ".join(protocols),
                    "ciphers": ":".join(ciphers),
                    "project_id": call.actor.project_id,
                    "certferry": served_object(served(POLICIES[name])),
                }
                for name, (protocols, ciphers) in TLS_POLICIES.items()
            ]
        },
    )


def flavors(call: ApiRequest) -> ApiResponse:
    """GET: sizes that clients may name; none of them limits anything here."""
    page, info = paged(call.query, filtered(_FLAVORS, call.query, _flavors(call), call.snapshot))
    return ApiResponse(200, {"flavors": page, "page_info": info})


def flavor(call: ApiRequest) -> ApiResponse:
    """GET of one."""
    for one in _flavors(call):
        if one["id"] == call.path["id"]:
            return ApiResponse(200, {"flavor": one})
    raise not_found("flavor", call.path["id"])


def _flavors(call: ApiRequest) -> list[Wire]:
    return [
        {
            "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{layer}.{size}.certferry")),
            "name": f"{layer}_flavor.elb.{size}",
            "type": layer,
            "shared": True,
            "project_id": call.actor.project_id,
            "flavor_sold_out": False,
            "public_border_group": "center",
            "category": 0,
            "info": {"connection": n * 10_000, "cps": n * 100, "bandwidth": n * 1000, "qps": n * 200},
        }
        for layer in ("L4", "L7")
        for size, n in _SIZES
    ]


def availability_zones(call: ApiRequest) -> ApiResponse:
    """GET: a list of sets of zones; ours are one set."""
    zones = [
        {"code": code, "state": "ACTIVE", "protocol": ["L4", "L7"], "public_border_group": "center", "category": 0}
        for code in call.settings.availability_zones
    ]
    return ApiResponse(200, {"availability_zones": [zones]})


def preoccupied(call: ApiRequest) -> ApiResponse:
    """GET: how many addresses a new load balancer takes from its subnet."""
    return ApiResponse(200, {"preoccupy_ip": {"total": 1}})


def quotas(call: ApiRequest) -> ApiResponse:
    """GET: the limits; -1 is none. Ours: the defaults of HTTPS listeners, so that a controller applies the same."""
    defaults = {"tls_ciphers_policy": call.settings.tls_ciphers_policy, "http2_enable": call.settings.http2_enable}
    own = {"listener_defaults": defaults}
    return ApiResponse(200, {"quota": {"project_id": call.actor.project_id, **_quota(call), "certferry": own}})


def quota_details(call: ApiRequest) -> ApiResponse:
    """GET: the limits of what is counted, and how much of each is used."""
    snapshot, project_id = call.snapshot, call.actor.project_id
    wanted = {value for key, value in call.query if key == "quota_key"}
    details = [
        {"quota_key": key, "quota_limit": limit, "used": snapshot.count(key, project, project_id), "unit": "count"}
        for key, limit in _quota(call).items()
        if key in RESOURCES and (not wanted or key in wanted)
    ]
    return ApiResponse(200, {"quotas": details})


def _quota(call: ApiRequest) -> dict[str, Any]:
    return msgspec.structs.asdict(call.settings.limits) | {"listeners_per_pool": -1}


def _unrendered(call: ApiRequest, snapshot: StoreSnapshot, row: Row) -> Wire:
    raise AssertionError("flavors are no rows")


_FLAVORS: Final = Resource(kind="flavor", plural="flavors", render=_unrendered)

ROUTES: Final = (
    Route("GET", "/system-security-policies", system_security_policies, "List system security policies"),
    Route("GET", "/flavors", flavors, "List flavors"),
    Route("GET", "/flavors/{id}", flavor, "Show a flavor"),
    Route("GET", "/availability-zones", availability_zones, "List availability zones"),
    Route("GET", "/preoccupy-ip-num", preoccupied, "Show how many addresses a load balancer takes"),
    Route("GET", "/quotas", quotas, "Show quotas"),
    Route("GET", "/quotas/details", quota_details, "Show quotas and their use"),
)
