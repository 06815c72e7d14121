"""The clusters of a settings file, and how to enter each and its ELB.

The controller, the console and the command line share it. It knows nothing of what is done there.
"""

from certferry.clusters.cluster import ClusterAccess
from certferry.clusters.fan_out import ClusterResult, fan_out
from certferry.clusters.settings_file import Fleet, locate, one, read

__all__ = ["ClusterAccess", "ClusterResult", "Fleet", "fan_out", "locate", "one", "read"]
