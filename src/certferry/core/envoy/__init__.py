"""ELB state to Envoy's resources, as plain data. Called by ``elb.xds``; see ``snapshot``."""

from certferry.core.envoy.match import re2_problem
from certferry.core.envoy.message import Message, Secret
from certferry.core.envoy.snapshot import (
    CLUSTERS,
    ENDPOINTS,
    LISTENERS,
    ROUTES,
    SECRETS,
    Options,
    Snapshot,
    snapshot,
)

__all__ = [
    "CLUSTERS",
    "ENDPOINTS",
    "LISTENERS",
    "ROUTES",
    "SECRETS",
    "Message",
    "Options",
    "Secret",
    "Snapshot",
    "re2_problem",
    "snapshot",
]
