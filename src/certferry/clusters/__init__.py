"""The clusters of a settings file, and access to each and its ELB."""

from certferry.clusters.cluster import ClusterAccess
from certferry.clusters.fan_out import ClusterResult, fan_out
from certferry.clusters.settings_file import Fleet, locate, one, read

__all__ = ["ClusterAccess", "ClusterResult", "Fleet", "fan_out", "locate", "one", "read"]
