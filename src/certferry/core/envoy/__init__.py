"""Translate ELB state to Envoy's xDS resources, as plain data; see ``snapshot``."""

from certferry.core.envoy.options import Options
from certferry.core.envoy.resource import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SECRETS, TlsSecret, XdsResource
from certferry.core.envoy.routes.headers import header_name_problem
from certferry.core.envoy.routes.match import re2_problem
from certferry.core.envoy.snapshot import Snapshot, snapshot

__all__ = [
    "CLUSTERS",
    "ENDPOINTS",
    "LISTENERS",
    "ROUTES",
    "SECRETS",
    "Options",
    "Snapshot",
    "TlsSecret",
    "XdsResource",
    "header_name_problem",
    "re2_problem",
    "snapshot",
]
